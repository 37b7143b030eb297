'use strict';
// The user's list, similar items, and the mode.

const view = { user: '', rows: new Map(), order: [], sequence: 0, oldest: null, version: '', cold: false, revision: '', named: '' };

const userPath = (rest = '', more = {}) => withQuery(`v1/user${rest}`, { user_id: view.user, ...more });
const topK = () => ({ k: $('count').value, exclude_seen: $('unseen').checked, ...filterQuery() });

function scoreOf(item, share) {
  const fill = element('span', { className: 'fill' });
  fill.style.setProperty('--share', `${Math.round(100 * share)}%`);
  return element('span', { className: 'score' }, element('span', { className: 'track' }, fill), item.score.toFixed(2));
}

function rowOf(item, position, share, before) {
  const was = before ? before.indexOf(item.item_id) : position;
  const gain = was - position;
  const [mark, text, spoken] = was < 0 ? ['new', 'new', 'new in the list']
    : gain > 0 ? ['up', `▲ ${gain}`, `up ${gain}`] : gain < 0 ? ['down', `▼ ${-gain}`, `down ${-gain}`] : ['', '', ''];
  const move = element('span', { className: 'move', title: spoken }, text);
  if (spoken) labelled(move, { role: 'img', 'aria-label': spoken });
  const more = labelled(element('button', { className: 'small similar', type: 'button' }, 'Similar'),
    { 'aria-expanded': 'false', 'aria-label': `Similar to ${nameOf(item.item_id)}` });
  const row = element('li', { className: mark },
    element('div', { className: 'row' },
      element('span', { className: 'rank' }, String(position + 1)), nameButton(item.item_id, move), scoreOf(item, share),
      element('span', { className: 'acts' }, recordButton(item.item_id), more)));
  more.addEventListener('click', () => enqueue(() => toggleSimilar(item.item_id, row, more)));
  return row;
}

async function toggleSimilar(id, row, button) {
  const open = row.querySelector('.like');
  if (open) {
    open.remove();
    button.setAttribute('aria-expanded', 'false');
    return;
  }
  const { answer, ms } = await call('GET', withQuery('v1/item/similar', { item_id: id, k: 5, ...filterQuery() }));
  addItems(answer.items);
  row.append(element('ul', { className: 'like' }, ...answer.items.map((item) => element('li', { className: 'row' },
    nameButton(item.item_id), scoreOf(item, Math.max(0, item.score)),
    element('span', { className: 'acts' }, recordButton(item.item_id))))));
  button.setAttribute('aria-expanded', 'true');
  $('status').textContent = `${plural(answer.items.length, 'similar item')} in ${inMs(ms)}.`;
}

// Move rows from their old positions, unless the user prefers reduced motion.
function animateRows(tops) {
  if (matchMedia('(prefers-reduced-motion: reduce)').matches) return;
  for (const [id, row] of view.rows) {
    const by = tops.has(id) ? tops.get(id) - row.getBoundingClientRect().top : 0;
    if (by) row.animate([{ transform: `translateY(${by}px)` }, { transform: 'none' }], { duration: 320, easing: 'ease-out' });
    else if (!tops.has(id)) row.animate([{ opacity: 0 }, { opacity: 1 }], { duration: 450 });
  }
}

function showList(answer, compare) {
  const before = compare && view.order.length ? view.order : null;
  const tops = new Map([...view.rows].map(([id, row]) => [id, row.getBoundingClientRect().top]));
  const focused = [...$('list').children].findIndex((row) => row.contains(document.activeElement));
  const writes = document.activeElement.classList.contains('record');
  if (answer.model_version !== view.version) {
    view.version = answer.model_version;
    items.clear();
    showModel().catch(showError);
  }
  view.revision = answer.catalogue_revision || '';
  view.named = answer.recommendation_id || '';
  $('answered-by').textContent = `Answered by ${answer.model_version}.`;
  addItems(answer.items);
  const scores = answer.items.map((item) => item.score);
  const best = Math.max(...scores), least = Math.min(...scores);
  const share = (score) => (best > least ? 0.12 + (0.88 * (score - least)) / (best - least) : 1);
  const rows = answer.items.map((item, position) => rowOf(item, position, share(item.score), before));
  $('list').replaceChildren(...rows);
  if (!rows.length) $('list').append(element('li', { className: 'none soft' }, 'No item is left.'));
  view.sequence = answer.sequence;
  view.order = answer.items.map((item) => item.item_id);
  view.rows = new Map(rows.map((row, position) => [view.order[position], row]));
  if (before) animateRows(tops);
  if (focused >= 0 && rows.length) {
    const row = rows[Math.min(focused, rows.length - 1)];
    row.querySelector(writes ? '.record' : '.pick').focus({ preventScroll: true });
  }
  $('source').hidden = false;
  view.cold = answer.source === 'cold_start';
  $('source').textContent = view.cold ? 'cold start' : 'from history';
  $('about').textContent = (view.cold ? 'No event with a known item yet: recommendations for a new user.'
    : `After the user’s event ${view.sequence}.`) + (answer.short ? ` Only ${plural(answer.eligible, 'item')} can be shown.` : '');
  showPlace();
  return before ? changesSince(before) : '';
}

// Looking at a user writes nothing: events are recorded only in the other mode.
function showMode() {
  const writing = $('mode-write').checked;
  document.body.classList.toggle('reading', !writing);
  $('mode-note').textContent = writing ? `“Record” and “Undo” change the log of ${view.user}.`
    : 'Looking at a user writes nothing into the user’s log.';
}

function changesSince(before) {
  const added = view.order.filter((id) => !before.includes(id)).length;
  const gone = before.filter((id) => !view.order.includes(id)).length;
  const moved = view.order.filter((id, at) => before.includes(id) && before.indexOf(id) !== at).length;
  return added + gone + moved ? `: ${added} new, ${gone} gone, ${moved} moved` : '; no change in the list';
}

async function showRecommendations(message, compare) {
  const { answer, ms } = await call('GET', userPath('/recommendations', topK()));
  const changes = showList(answer, compare);
  $('status').textContent = `${message(inMs(ms))}${changes}.`;
}

const format = (value) => (Number.isInteger(value) ? value.toLocaleString('en')
  : typeof value === 'number' ? value.toFixed(4)
  : Object(value) === value ? Object.entries(value).map(([name, v]) => `${name} ${format(v)}`).join(', ') : `${value}`);

const pairs = (entries) => element('dl', {}, ...entries.map(([name, value]) =>
  element('div', {}, element('dt', {}, name), element('dd', {}, value))));

async function showModel() {
  const { answer } = await call('GET', 'v1/model');
  $('version').textContent = answer.version;
  const parts = [element('p', { className: 'soft' },
    answer.version + (answer.created ? `, published ${dateOf(answer.created)}` : ''))];
  const test = answer.test;
  if (test) {
    const share = `${(100 * test.share).toFixed(1).replace(/\.0$/, '')} %`;
    parts.push(element('p', {}, `A/B test: ${test.version} answers ${share} of the users. The figures are the live model’s.`));
  }
  for (const [group, title] of [['metrics', 'Metrics'], ['training_data', 'Trained on'], ['config', 'Configuration']]) {
    const entries = Object.entries(answer[group] || {}).map(([name, value]) => [name.replaceAll('_', ' '), format(value)]);
    if (!entries.length) continue;
    parts.push(element('details', { open: group === 'metrics' }, element('summary', {}, title), pairs(entries)));
  }
  $('model-facts').replaceChildren(...parts);
}
