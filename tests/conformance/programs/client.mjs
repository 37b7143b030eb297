// Send the requests on standard input with fetch.
import { readFileSync } from 'node:fs';

const names = process.argv.slice(2);
const headers = Object.fromEntries(names.filter((_, at) => at % 2 === 0).map((name, at) => [name, names[2 * at + 1]]));
for (const line of readFileSync(0, 'utf-8').split('\n').filter(Boolean)) {
  const [method, url, body] = line.split('\t'); // body in base64
  const answer = await fetch(url, { method, headers, body: body ? Buffer.from(body, 'base64') : undefined });
  const content = Buffer.from(await answer.arrayBuffer()).toString('base64');
  console.log([answer.status, answer.headers.get('content-type'), content].join('\t'));
}
