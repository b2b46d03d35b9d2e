/**
 * Corrections not saved yet, kept on this tablet under who drew them and the analysis they belong
 * to. No patient's name. They outlast a lock; nobody else at this tablet gets them, and signing
 * out wipes those that the box has.
 */

const ALL = 'echocart.draft.';
const PREFIX = `${ALL}${document.body.dataset.reviewer}.`;
const KEPT = 20;

/**
 * @param {string} analysis SHA-256 of the analysis
 * @returns {object | null}
 */
export function load(analysis) {
  try {
    return JSON.parse(localStorage.getItem(PREFIX + analysis));
  } catch {
    return null; // storage switched off, or not ours: the page works without drafts
  }
}

/**
 * @param {string} analysis SHA-256 of the analysis
 * @param {object | null} draft null forgets it
 * @returns {boolean} whether it is kept
 */
export function store(analysis, draft) {
  try {
    if (!draft) localStorage.removeItem(PREFIX + analysis);
    else localStorage.setItem(PREFIX + analysis, JSON.stringify({ ...draft, at: Date.now() }));
    forgetOldest();
    return true;
  } catch {
    return false; // storage is full or off
  }
}

function forgetOldest() {
  const keys = Object.keys(localStorage).filter((key) => key.startsWith(ALL));
  if (keys.length <= KEPT) return;
  const age = (key) => JSON.parse(localStorage.getItem(key)).at ?? 0;
  keys.sort((a, b) => age(a) - age(b));
  for (const key of keys.slice(0, keys.length - KEPT)) localStorage.removeItem(key);
}

/** @param {string} reviewer initials of who signs out */
export function wipe(reviewer) {
  try {
    const theirs = Object.keys(localStorage).filter((key) => key.startsWith(`${ALL}${reviewer}.`));
    for (const key of theirs) {
      if (!JSON.parse(localStorage.getItem(key)).unsent) localStorage.removeItem(key);
    }
  } catch {
    // Storage is off: nothing was kept.
  }
}
