/** Corrections not saved yet, kept on this tablet under the analysis they belong to. No names. */

const PREFIX = 'echocart.draft.';
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
  const keys = Object.keys(localStorage).filter((key) => key.startsWith(PREFIX));
  if (keys.length <= KEPT) return;
  const age = (key) => JSON.parse(localStorage.getItem(key)).at ?? 0;
  keys.sort((a, b) => age(a) - age(b));
  for (const key of keys.slice(0, keys.length - KEPT)) localStorage.removeItem(key);
}
