/** The quiet parts: numbers with their reasons, annotations, deliveries, the rail of loops. */

import { t } from './language.js';

/**
 * @param {string} tag
 * @param {Record<string, any>} [properties] set on the element; `data` goes to its dataset
 * @param {(Node | string)[]} [children]
 * @returns {HTMLElement}
 */
export function make(tag, { data = {}, attributes = {}, ...properties } = {}, children = []) {
  const element = Object.assign(document.createElement(tag), properties);
  Object.assign(element.dataset, data);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/**
 * @param {string} sign
 * @returns {HTMLElement} a sign the eye takes in; screen readers pass over it
 */
function sign(sign) {
  return make('span', { className: 'sign', textContent: sign, attributes: { 'aria-hidden': 'true' } });
}

/**
 * @param {HTMLElement} section
 * @param {object} shown an annotation: `numbers` as the box words them
 * @param {string} note what stands in the place of the quiet facts, when drawing made them old
 */
export function numbers(section, { ef, spread, volumes, lines, why }, note) {
  const rows = [
    make('h2', { textContent: t('EF') }),
    make('p', { className: 'ef' }, [ef, make('small', { textContent: spread })]),
  ];
  if (volumes.length) {
    const items = volumes.map((text) => make('span', { textContent: text }));
    rows.push(make('p', { className: 'volumes' }, items));
  }
  const facts = note || lines.join(' · ');
  rows.push(make('p', { className: `small facts ${note ? 'attention' : 'quiet'}`, textContent: facts }));
  for (const text of why) rows.push(make('p', { className: 'why', textContent: text }));
  section.replaceChildren(...rows);
}

/**
 * @param {HTMLElement} section
 * @param {object} beside `biplane` and `earlier` as the box words them
 */
export function beside(section, { biplane, earlier }) {
  const rows = [];
  if (biplane?.ef) {
    const line = [t('EF {value}', { value: biplane.ef }), ...biplane.volumes].join(' · ');
    rows.push(make('p', { id: 'biplane' }, [make('b', { textContent: t('Biplane') }), ` ${line} `]));
    rows.at(-1).append(make('span', { className: 'quiet small', textContent: biplane.with }));
  }
  for (const text of biplane?.why ?? []) {
    rows.push(make('p', { className: 'why', textContent: text }));
  }
  for (const text of earlier) {
    rows.push(make('p', { className: 'quiet small earlier', textContent: text }));
  }
  section.replaceChildren(...rows);
  section.hidden = !rows.length;
}

/**
 * @param {HTMLElement} list
 * @param {object[]} told the model's annotation, then each review
 * @param {string} shown id of the one on the image
 * @param {(id: string) => void} onShow
 * @param {(() => void) | null} onUndo takes back the review in force; null when it can't be
 */
export function annotations(list, told, shown, onShow, onUndo) {
  const rows = told.map((item) => {
    const button = make(
      'button',
      { data: { annotation: item.id }, attributes: { 'aria-pressed': String(item.id === shown) } },
      [
        sign(item.sign),
        make('span', { className: 'what', textContent: item.title }),
        make('time', { textContent: item.time }),
      ],
    );
    button.addEventListener('click', () => onShow(item.id));
    const rest = item.note ? [make('p', { className: 'why', textContent: item.note })] : [];
    if (onUndo && item.stands && (item.review || item.asked)) rest.unshift(undoButton(item, onUndo));
    return make('li', { className: item.stands ? '' : 'past' }, [button, ...rest]);
  });
  list.replaceChildren(...rows);
}

/**
 * @param {object} item the annotation in force
 * @param {() => void} onUndo
 * @returns {HTMLElement}
 */
function undoButton({ title }, onUndo) {
  const attributes = { 'aria-label': t('Undo: {title}', { title }) };
  const button = make('button', { id: 'undo-decision', textContent: t('Undo'), attributes });
  button.addEventListener('click', onUndo);
  return button;
}

/**
 * @param {HTMLElement} list
 * @param {object[]} marks one per destination
 */
export function deliveries(list, marks) {
  const rows = marks.map(({ tone, sign: glyph, title }) =>
    make('li', { className: tone }, [sign(glyph), title]),
  );
  list.replaceChildren(...rows);
}

/**
 * @param {HTMLElement} list
 * @param {{name: string, colour: string}[]} structures
 */
export function legend(list, structures) {
  const rows = structures.map(({ name, colour }) => {
    const swatch = make('i');
    swatch.style.backgroundColor = colour;
    return make('li', {}, [swatch, name]);
  });
  list.replaceChildren(...rows);
}

/**
 * @param {HTMLElement} nav
 * @param {object[]} loops loops of the study
 * @param {number} here seq of this one
 */
export function rail(nav, loops, here) {
  const rows = loops.map((loop) => {
    const picture = loop.thumbnail
      ? make('img', { src: loop.thumbnail, alt: '', loading: 'lazy', fetchPriority: 'low' })
      : make('span', { className: 'blank' });
    const status = make('span', { className: loop.status.tone }, [sign(loop.status.sign)]);
    status.append(make('span', { className: 'unseen', textContent: loop.status.word }));
    const line = make('span', { className: 'line' }, [t('loop {number}', loop), status]);
    const link = make('a', { href: loop.url, data: { seq: loop.seq } }, [picture, line]);
    if (loop.seq === here) link.setAttribute('aria-current', 'page');
    return link;
  });
  nav.replaceChildren(...rows);
}
