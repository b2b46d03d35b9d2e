/** The keyboard: one table from key to action. */

// Held down, these go on; any other key counts once for each time it is pressed.
const REPEATING = [
  ...['ArrowLeft', 'ArrowRight', 'z', 'Shift+z', ',', '.', '+', '-', '[', ']'],
  ...['Shift+ArrowLeft', 'Shift+ArrowRight', 'Shift+ArrowUp', 'Shift+ArrowDown'],
];

/**
 * @param {Record<string, () => void>} actions key as `KeyboardEvent.key`, "Shift+" before it when held
 * @param {() => boolean} ready false while a key pressed may still be meant for the page before
 */
export function listen(actions, ready) {
  const stale = new Set(); // keys down since before the page was ready: to be let go first
  document.addEventListener('keyup', ({ code }) => stale.delete(code));
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (document.querySelector('dialog[open]') || event.target.matches('input:not([type=range]), textarea')) return;
    if (event.target.matches('input') && event.key.startsWith('Arrow')) return;
    const pressed = event.target.matches('button, a') && [' ', 'Enter'].includes(event.key);
    if (pressed) return;
    const letter = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const shift = event.shiftKey && /^([a-z]|Arrow\w+)$/.test(letter) ? 'Shift+' : '';
    const action = actions[shift + letter];
    if (!action) return;
    event.preventDefault();
    if (REPEATING.includes(shift + letter)) action();
    else if (event.repeat || !ready()) stale.add(event.code);
    else if (!stale.has(event.code)) action();
  });
}
