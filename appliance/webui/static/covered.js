/** Before anything is shown: a page that was locked without network stays covered (`lock.js`). */

try {
  if (localStorage.getItem('echocart.locked')) document.documentElement.classList.add('covered');
} catch {
  // Storage is off: no page of this tablet can tell another.
}
