'use strict';
// Requests to the API, and actions that run one after the other.

const KEY = 'recblr-key', USERS = 'recblr-users';
const $ = (id) => document.getElementById(id);

// Error with a message for the user, and the details of the API.
class ApiError extends Error {}

const storage = { // a browser can forbid storage
  get(name) { try { return sessionStorage.getItem(name); } catch { return null; } },
  set(name, value) { try { sessionStorage.setItem(name, value); } catch {} },
  remove(name) { try { sessionStorage.removeItem(name); } catch {} },
};

// All text of the API becomes text nodes, so that a title can never become an element.
function element(tag, properties, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children.filter((child) => child !== null));
  return node;
}

function labelled(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? '' : '.');
const plural = (number, word) => `${number.toLocaleString('en')} ${word}${number === 1 ? '' : 's'}`;
const inMs = (ms) => `${ms < 100 ? ms.toFixed(1) : Math.round(ms)} ms`;
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

function apiError(status, body) {
  const error = body && body.error;
  const details = (error && error.details) || [];
  const failed = (text) => Object.assign(new ApiError(text), { status, details });
  if (!error) return failed(`The server answered with status ${status} without a message.`);
  const problems = details.map((detail) => ` ${detail.field} ${detail.problem}.`);
  return failed(sentence(error.message) + problems.join(''));
}

async function call(method, path, body) {
  const headers = body === undefined ? {} : { 'Content-Type': 'application/json' };
  const key = storage.get(KEY);
  if (key) headers['X-API-Key'] = key;
  const start = performance.now();
  let response, answer;
  try {
    response = await fetch(path, { method, headers, body: body && JSON.stringify(body), cache: 'no-store' });
  } catch {
    throw new ApiError('Cannot reach the service. Check that it runs, then try again.');
  }
  try { answer = await response.json(); } catch { answer = null; }
  const ms = performance.now() - start;
  if (response.status === 401 || response.status === 403) {
    if (key || response.status === 401) askForKey(response.status === 401); // a server without keys takes none
    if (!key && response.status === 401) throw new ApiError('This server needs an API key. Enter one below.');
  }
  if (!response.ok || answer === null) throw apiError(response.status, answer);
  return { answer, ms };
}

// Ids are in the query: a browser removes `.` and `..` from a path, and some proxies decode a slash there.
const withQuery = (path, parameters) => `${path}?${new URLSearchParams(parameters)}`;

function askForKey(focus) {
  $('key').hidden = false;
  $('key-forget').hidden = storage.get(KEY) === null;
  if (focus) $('key-input').focus();
}

function showError(error) {
  $('status').textContent = '';
  $('alert').textContent = error instanceof ApiError ? error.message : `Error in this page: ${error.message}`;
  $('alert').hidden = false;
}

// Run actions one by one and show errors.
let last = Promise.resolve(), busy = 0;
function enqueue(work) {
  busy += 1;
  $('list').setAttribute('aria-busy', 'true');
  last = last.then(async () => {
    try {
      $('alert').hidden = true;
      await work();
    } catch (error) {
      showError(error);
    }
    busy -= 1;
    if (!busy) $('list').removeAttribute('aria-busy');
  });
}

function onSubmit(form, work) {
  $(form).addEventListener('submit', (event) => { event.preventDefault(); enqueue(work); });
}
