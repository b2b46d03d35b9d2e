/** The page's words in the language it is sent in: what stands in the code is English. */

const known = JSON.parse(document.getElementById('translations')?.textContent ?? '{}');

/**
 * @param {string} text
 * @param {Record<string, any>} [values] what goes where `{name}` stands
 * @returns {string}
 */
export function t(text, values = {}) {
  return (known[text] ?? text).replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

/**
 * @param {string} one
 * @param {string} many
 * @param {number} count what goes where `{count}` stands, and chooses the form
 * @returns {string}
 */
export function n(one, many, count) {
  // Every language's rule goes by the last two digits, apart from small numbers.
  const form = known[one]?.[known[''][count < 200 ? count : 100 + (count % 100)]];
  return t(form ?? (count === 1 ? one : many), { count });
}
