'use strict';
// Items of the catalogue: find one, look at it, switch it off and on.

const EMPTY = 'The catalogue is empty: nothing has been put into it yet.';
const FOUND = 20, EFFECT_MS = 5000;
const shown = { id: '', available: true };

// LIKE minds upper and lower case, so the usual spellings are tried.
function spellings(text) {
  const lower = text.toLowerCase();
  const words = lower.replace(/(^|[\s\-(])(\p{L})/gu, (_, start, letter) => start + letter.toUpperCase());
  const first = lower.charAt(0).toUpperCase() + lower.slice(1);
  return [...new Set([text, lower, first, words, text.toUpperCase()])];
}

function findExpression(text) {
  const quoted = (value) => `'${value.replaceAll("'", "''")}'`;
  const pattern = (value) => quoted(`%${value.replace(/[!%_]/g, '!$&')}%`);
  const alike = spellings(text).map((each) => `title LIKE ${pattern(each)} ESCAPE '!'`);
  return [...alike, `item_id = ${quoted(text)}`].join(' OR ');
}

async function findItems() {
  const text = $('find-input').value.trim();
  $('results').replaceChildren();
  if (!text) return;
  const { answer } = await call('GET', withQuery('v1/items', { filter: findExpression(text), limit: FOUND }));
  addItems(answer.items);
  $('found').textContent = answer.total > FOUND ? `The first ${FOUND} of ${plural(answer.total, 'item')}.`
    : answer.total ? `${plural(answer.total, 'item')}.` : view.revision ? 'No title of the catalogue has this text.' : EMPTY;
  const rows = answer.items.map((item) => labelled(element('li', {}, nameButton(item.item_id),
    element('span', { className: 'badge off', hidden: item.available }, 'off')), { 'data-id': item.item_id }));
  if (!answer.items.some((item) => item.item_id === text)) { // an item may have no entry, or no title
    const button = element('button', { className: 'small', type: 'button' }, `Look up the id ${text}`);
    button.addEventListener('click', () => enqueue(() => showItem(text)));
    rows.push(element('li', {}, button));
  }
  $('results').replaceChildren(...rows);
}

// The item's entry; null if the catalogue has none.
async function readEntry(id) {
  try {
    return (await call('GET', withQuery('v1/item', { item_id: id }))).answer;
  } catch (error) {
    if (error.status !== 404) throw error;
    return null;
  }
}

function valueOf(value) {
  if (Array.isArray(value)) {
    return value.length ? element('span', { className: 'chips' }, ...value.map((each) => element('span', { className: 'chip' }, each))) : 'none';
  }
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  if (typeof value === 'number') return value.toLocaleString('en', { maximumFractionDigits: 6 });
  return value;
}

async function showItem(id, focus = true) {
  const entry = await readEntry(id);
  if (entry) addItems([entry]);
  else await loadTitles([id]);
  shown.id = id;
  shown.available = entry ? entry.available : true;
  const known = items.get(id)?.known;
  const toggle = labelled(element('button', { id: 'item-switch', type: 'button' }, element('span', { className: 'knob' })),
    { role: 'switch', 'aria-checked': String(shown.available), 'aria-labelledby': 'item-switch-label' });
  toggle.addEventListener('click', () => { if (!busy) enqueue(() => switchItem(id, !shown.available)); });
  const attributes = Object.entries(entry?.attributes || {}).map(([name, value]) => [name, valueOf(value)]);
  $('item').replaceChildren(
    element('h3', {}, nameOf(id)),
    element('p', { className: 'soft' }, `id ${id}`),
    element('p', { className: 'switch' }, toggle,
      element('span', { id: 'item-switch-label' }, shown.available ? 'May be shown' : 'Switched off')),
    element('p', { id: 'item-place', className: 'soft' }),
    entry?.categories.length ? element('p', { className: 'chips' },
      ...entry.categories.map((each) => element('span', { className: 'chip' }, each))) : '',
    attributes.length ? pairs(attributes) : '',
    entry ? '' : element('p', { className: 'soft' }, 'The catalogue has no entry of this item. Switching it off makes one.'),
    known === false ? element('p', { className: 'soft' }, 'The model does not know this item, so it is never recommended.') : '',
    recordButton(id));
  $('item').hidden = false;
  $('item-status').textContent = '';
  showPlace();
  if (focus) {
    $('item').focus({ preventScroll: true });
    $('item').scrollIntoView({ block: 'nearest' });
  }
}

// Say where the shown item is in the list, and mark its row.
function showPlace() {
  for (const [id, row] of view.rows) row.classList.toggle('shown', id === shown.id);
  const place = view.order.indexOf(shown.id);
  if (!$('item-place')) return;
  $('item-place').textContent = place < 0 ? 'Not in this list.' : `Place ${place + 1} in this list.`;
}

// Change the item, and wait until an answer names a later state of the catalogue.
async function switchItem(id, available) {
  const start = performance.now();
  const { answer: changed } = await call('PATCH', withQuery('v1/item', { item_id: id }), { available });
  const before = view.revision, was = view.order.indexOf(id);
  let list;
  do {
    ({ answer: list } = await call('GET', userPath('/recommendations', topK())));
    const isLater = !changed.changed || list.catalogue_revision !== before;
    if (isLater && (available || !list.items.some((item) => item.item_id === id))) break;
    await pause(50);
  } while (performance.now() - start < EFFECT_MS);
  const changes = showList(list, true);
  await showItem(id, false);
  const place = view.order.indexOf(id), time = inMs(performance.now() - start);
  const effect = was >= 0 && place < 0 ? 'It left the list' : was < 0 && place >= 0 ? `It is back at place ${place + 1}` : 'The list was read again';
  $('item-status').textContent = `${nameOf(id)} is ${available ? 'on' : 'off'}. ${effect} after ${time}.`;
  $('status').textContent = `List after the change${changes}.`;
  for (const row of $('results').children) {
    if (row.dataset.id === id) row.querySelector('.off').hidden = available;
  }
  $('item-switch').focus({ preventScroll: true });
}
