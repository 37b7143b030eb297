'use strict';
// What the page knows about items, by id: {title, categories, known, available}.

const items = new Map();

function addItems(found) {
  for (const item of found) {
    const before = items.get(item.item_id) || {};
    const facts = { title: item.title || null, categories: item.categories || [] };
    if (item.score !== undefined) facts.known = item.score !== null;
    if (item.available !== undefined) facts.available = item.available;
    items.set(item.item_id, { ...before, ...facts });
  }
}

const nameOf = (id) => items.get(id)?.title || `Item ${id}`;

function subtitleOf(id) {
  const found = items.get(id);
  return [found?.title ? `id ${id}` : null, ...(found?.categories || [])].filter(Boolean).join(' · ');
}

// A button with the item's name. It shows the item, and never writes.
function nameButton(id, ...marks) {
  const subtitle = subtitleOf(id);
  const button = element('button', { className: 'pick', type: 'button', title: 'Show this item' },
    element('span', { className: 'name' }, nameOf(id)), ...marks,
    subtitle ? element('span', { className: 'soft' }, subtitle) : null);
  button.addEventListener('click', () => enqueue(() => showItem(id)));
  return button;
}

// A button that writes an event. It is there only in the mode that records.
function recordButton(id) {
  const button = element('button', { className: 'small record writes', type: 'button' }, 'Record');
  button.setAttribute('aria-label', `Record an event with ${nameOf(id)}`);
  button.addEventListener('click', () => { if (!busy) enqueue(() => record(id)); });
  return button;
}

// Events have no titles; a rank request returns those of the catalogue.
async function loadTitles(ids) {
  const missing = [...new Set(ids)].filter((id) => !items.has(id));
  if (missing.length) addItems((await call('POST', userPath('/rank'), { candidates: missing })).answer.items);
}
