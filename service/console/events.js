'use strict';
// The user's log: reading it, recording events, undoing them.

const PAGE = 12;

// Type and value of the next event, as the fields have them.
function kindOfEvent() {
  const type = $('type-input').value.trim(), text = $('value-input').value.trim();
  const value = Number(text.replace(',', '.'));
  if (text && !Number.isFinite(value)) throw new ApiError('A value is a number, such as 49.90.');
  return { ...(type && { type }), ...(text && { value }) };
}

async function record(item) {
  const kind = kindOfEvent();
  const event = { user_id: view.user, item_id: item, event_id: newId(), ...kind };
  if (view.named && view.order.includes(item)) event.recommendation_id = view.named;
  let done, refused;
  try {
    done = await call('POST', withQuery('v1/events', topK()), event);
  } catch (error) { // a key with append alone stores events without an answer
    if (error.status !== 403) throw error;
    refused = error;
    done = await call('POST', 'v1/events', event);
  }
  const { answer, ms } = done;
  $('value-input').value = ''; // a price is of one event
  const message = `Event ${answer.sequence} stored${kind.type ? ` as ${kind.type}` : ''}`;
  if (refused) {
    $('status').textContent = `${message} in ${inMs(ms)}. ${refused.message}`;
    return;
  }
  if (answer.recommendations) {
    const changes = showList(answer.recommendations, true);
    $('status').textContent = `${message} and answered in ${inMs(ms)}${changes}.`;
  } else {
    await showRecommendations((time) => `${message}; recommendations in ${time}`, true);
  }
  if (!answer.known_item) {
    $('status').textContent += ` The model does not know item ${item} and ignores the event.`;
  }
  await showUser();
}

async function deleteEvent(event, row) {
  const at = [...$('events').children].indexOf(row);
  const { ms } = await call('DELETE', userPath('/event', { event_id: event.event_id }));
  await showRecommendations((time) => `Event ${event.sequence} undone in ${inMs(ms)}, recommendations in ${time}`, true);
  await showUser();
  const rows = $('events').children; // the keyboard stays where it was: on the next event, else on the field above
  (rows[Math.min(at, rows.length - 1)]?.querySelector('.undo') || $('item-input')).focus();
}

async function deleteUser() {
  if (!confirm(`Delete user ${view.user} with all events? This cannot be undone.`)) return;
  const { answer } = await call('DELETE', userPath());
  await showRecommendations((time) => `${plural(answer.deleted_events, 'event')} deleted, recommendations in ${time}`, true);
  await showUser();
}

const dateOf = (moment) => new Date(moment).toLocaleString([], { dateStyle: 'medium', timeStyle: 'short' });

function ageOf(seconds) {
  const past = Date.now() / 1000 - seconds;
  if (past > -60 && past < 60) return 'just now';
  if (past > 0 && past < 3600) return `${Math.round(past / 60)} min ago`;
  return dateOf(seconds * 1000);
}

function eventRow(event) {
  const button = element('button', { className: 'small undo writes', type: 'button' }, 'Undo');
  button.setAttribute('aria-label', `Undo event ${event.sequence}: ${nameOf(event.item_id)}`);
  button.addEventListener('click', () => enqueue(() => deleteEvent(event, button.closest('li'))));
  const unknown = items.get(event.item_id)?.known === false ? 'unknown to the model' : null;
  const when = element('time', { dateTime: new Date(event.timestamp * 1000).toISOString() }, ageOf(event.timestamp));
  const worth = event.value === null ? null : `value ${event.value}`;
  const facts = [`event ${event.sequence}`, event.type, worth, unknown].filter(Boolean);
  return element('li', {}, nameButton(event.item_id, element('span', { className: 'soft' }, `${facts.join(' · ')} · `, when)), button);
}

async function showEvents(before) {
  const { answer } = await call('GET', userPath('/events', { limit: PAGE, ...(before && { before }) }));
  await loadTitles(answer.events.map((event) => event.item_id));
  const rows = answer.events.reverse().map(eventRow);
  if (before) $('events').append(...rows);
  else $('events').replaceChildren(...rows);
  view.oldest = answer.next_before;
  $('more').hidden = view.oldest === null;
}

async function showUser() {
  if (!view.sequence) {
    $('facts').textContent = 'New user: no events yet.';
    $('events').replaceChildren(element('li', { className: 'none soft' }, 'None.'));
    $('more').hidden = $('delete-user').hidden = true;
    return;
  }
  const { answer } = await call('GET', userPath());
  await showEvents(null);
  const newest = answer.last_event;
  $('facts').textContent = plural(answer.events, 'event') + ' kept'
    + (newest ? `; the newest is number ${newest.sequence}, ${ageOf(newest.timestamp)}` : '')
    + (answer.trimmed ? `; events up to number ${answer.trimmed} were removed by retention` : '') + '.';
  $('delete-user').hidden = false;
}

async function openUser(user, writing = false) {
  if (user !== view.user) {
    $(writing ? 'mode-write' : 'mode-view').checked = true;
    $('type-input').value = $('value-input').value = '';
  }
  view.user = user;
  view.order = [];
  view.rows = new Map();
  $('user-input').value = user;
  $('source').hidden = true;
  showMode();
  for (const id of ['facts', 'about', 'status', 'list', 'events']) $(id).replaceChildren();
  if (userInUrl() !== user) history[userInUrl() ? 'pushState' : 'replaceState'](null, '', `#${encodeURIComponent(user)}`);
  document.title = `${user} · recblr-service console`;
  await showRecommendations((time) => `Answered in ${time}`, false);
  remember(user);
  await showUser();
}

function remember(user) {
  const users = [user, ...(storage.get(USERS) || '').split('\n').filter((each) => each && each !== user)].slice(0, 7);
  storage.set(USERS, users.join('\n'));
  const others = users.slice(1);
  $('recent').hidden = !others.length;
  $('recent').replaceChildren(...others.map((each) => {
    const button = element('button', { className: 'small', type: 'button' }, each);
    button.addEventListener('click', () => enqueue(() => openUser(each)));
    return button;
  }));
}

function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
