/** The keyboard: one table from key to action. */

/**
 * @param {Record<string, () => void>} actions key as `KeyboardEvent.key`, "Shift+" before it when held
 */
export function listen(actions) {
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (document.querySelector('dialog[open]') || event.target.matches('input, textarea')) return;
    const pressed = event.target.matches('button, a') && [' ', 'Enter'].includes(event.key);
    if (pressed) return;
    const letter = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const shift = event.shiftKey && /^[a-z]$/.test(letter) ? 'Shift+' : '';
    const action = actions[shift + letter];
    if (!action) return;
    event.preventDefault();
    action();
  });
}
