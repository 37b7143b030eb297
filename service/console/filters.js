'use strict';
// A filter expression: how many items it leaves, and where it is wrong.

const filter = { text: '' };
const FIELDS = { title: 'string', categories: 'strings', available: 'bool', item_id: 'string' };
const EXAMPLES = { number: '< 50', string: "= 'text'", bool: '', strings: '', time: '> now()' };

const filterQuery = () => (filter.text ? { filter: filter.text } : {});

// Count the items of the catalogue that an expression leaves.
async function countItems(expression) {
  const { answer, ms } = await call('GET', withQuery('v1/items', { limit: 1, ...(expression && { filter: expression }) }));
  return { total: answer.total, ms };
}

async function applyFilter() {
  const text = $('filter-input').value.trim();
  if (!text) return clearFilter();
  $('filter-input').removeAttribute('aria-invalid');
  try {
    const { total, ms } = await countItems(text);
    const all = await countItems('');
    filter.text = text;
    $('filter-clear').hidden = false;
    const empty = all.total ? '' : ` ${EMPTY}`;
    $('filter-status').replaceChildren(element('p', {},
      element('strong', {}, `${total.toLocaleString('en')} of ${plural(all.total, 'item')}`),
      ` of the catalogue fulfil this, counted in ${inMs(ms)}.${empty}`));
  } catch (error) {
    const [detail] = (error.details || []).filter((each) => each.field === 'filter');
    if (!detail) throw error;
    showMistake(text, detail);
    return;
  }
  await showRecommendations((time) => `Filtered in ${time}`, true);
}

// Show the expression with the mistake marked, and offer the name that may be meant.
function showMistake(text, detail) {
  const characters = Array.from(text); // offsets count code points
  const offset = Math.min(detail.offset ?? characters.length, characters.length);
  const rest = characters.slice(offset).join('');
  const wrong = (/^(?:[\p{L}\p{N}_]+|'[^']*'?|"[^"]*"?|\S)/u.exec(rest) || [''])[0];
  const before = characters.slice(0, offset).join('');
  const parts = [
    element('p', {}, `${sentence(detail.problem)} Line ${detail.line ?? 1}, column ${detail.column ?? offset + 1}:`),
    element('pre', {}, before, element('mark', {}, wrong || '␣'), rest.slice(wrong.length)),
  ];
  if (detail.suggestion && wrong) {
    const button = element('button', { className: 'small', type: 'button' }, `Use ${detail.suggestion}`);
    button.addEventListener('click', () => {
      $('filter-input').value = before + detail.suggestion + rest.slice(wrong.length);
      enqueue(applyFilter);
      $('filter-input').focus();
    });
    parts.push(button);
  }
  $('filter-status').replaceChildren(element('div', { className: 'mistake' }, ...parts));
  $('filter-input').setAttribute('aria-invalid', 'true');
  $('filter-input').focus();
  $('filter-input').setSelectionRange(before.length, before.length + wrong.length);
}

async function clearFilter() {
  filter.text = $('filter-input').value = '';
  $('filter-input').removeAttribute('aria-invalid');
  $('filter-clear').hidden = true;
  $('filter-status').replaceChildren();
  await showRecommendations((time) => `Answered in ${time}`, true);
}

// Offer the names that a filter can have; a click inserts one.
async function showNames() {
  const { answer } = await call('GET', 'v1/attributes');
  const types = { ...FIELDS, ...Object.fromEntries(answer.attributes.map((each) => [each.name, each.type])) };
  $('filter-names').replaceChildren(...Object.entries(types).map(([name, type]) => {
    const button = element('button', { className: 'chip', type: 'button' }, name, element('span', { className: 'soft' }, ` ${type}`));
    button.addEventListener('click', () => insertName(name, type));
    return button;
  }));
}

function insertName(name, type) {
  const input = $('filter-input');
  const before = input.value.slice(0, input.selectionStart);
  const text = type === 'strings' ? `'text' IN ${name}` : `${name} ${EXAMPLES[type]}`.trim();
  const glue = before.trim() && !/(\bAND|\bOR|\bNOT|\()\s*$/i.test(before) ? ' AND ' : '';
  input.setRangeText(glue + text, input.selectionStart, input.selectionEnd, 'end');
  input.focus();
}
