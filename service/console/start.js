'use strict';
// What the page's fields and buttons do, and the first user.

onSubmit('user-form', () => openUser($('user-input').value));
onSubmit('item-form', async () => {
  await record($('item-input').value);
  $('item-input').value = '';
});
onSubmit('filter-form', applyFilter);
onSubmit('find-form', findItems);
onSubmit('key-form', async () => {
  const key = $('key-input').value.trim();
  if (!/^[\x21-\x7e]+$/.test(key)) throw new ApiError('An API key consists of printable ASCII characters without spaces.');
  storage.set(KEY, key);
  $('key-input').value = '';
  $('key').hidden = true; // a refusal shows it again
  await openUser(view.user);
});
$('key-forget').addEventListener('click', () => { storage.remove(KEY); location.reload(); });
$('user-new').addEventListener('click', () => enqueue(() => openUser(`guest-${newId().slice(0, 6)}`, true)));
for (const id of ['mode-view', 'mode-write']) $(id).addEventListener('change', showMode);
$('delete-user').addEventListener('click', () => enqueue(deleteUser));
$('more').addEventListener('click', () => enqueue(() => showEvents(view.oldest)));
$('filter-clear').addEventListener('click', () => enqueue(clearFilter));
$('filter-help').addEventListener('toggle', () => { if ($('filter-help').open) enqueue(showNames); });
$('earned').addEventListener('toggle', () => { if ($('earned').open) enqueue(showEarned); });
for (const id of ['count', 'unseen']) {
  $(id).addEventListener('change', () => enqueue(() => showRecommendations((time) => `Answered in ${time}`, false)));
}

const userInUrl = () => { try { return decodeURIComponent(location.hash.slice(1)); } catch { return ''; } };
addEventListener('hashchange', () => { if (userInUrl() && userInUrl() !== view.user) enqueue(() => openUser(userInUrl())); });
enqueue(() => openUser(userInUrl() || (storage.get(USERS) || '').split('\n')[0] || 'demo'));
