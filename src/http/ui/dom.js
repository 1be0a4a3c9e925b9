// Builds elements. Text from outside only ever becomes a text node: nothing here parses markup. Escape sequences of terminals
// are left out of it, and marks that would reverse what follows are named, so that it reads as it is.

import { withoutEscapes } from "./ansi.js";

/** @typedef {Node | string | number | null | undefined | false} Child */
/** @typedef {{class?: string, text?: string | number, on?: Record<string, (event: any) => void>, [attribute: string]: unknown}} Props */

const SVG = "http://www.w3.org/2000/svg";

/**
 * Makes an HTML element. Properties are attributes, except `text` (its text) and `on` (its listeners); an attribute
 * that is `true` is empty, and one that is `false`, null or undefined is left out.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Props} [props]
 * @param {...(Child | Child[])} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function h(tag, props, ...children) {
  return fill(document.createElement(tag), props, children);
}

/**
 * Makes an SVG element, as `h` does.
 * @template {keyof SVGElementTagNameMap} T
 * @param {T} tag
 * @param {Props} [props]
 * @param {...(Child | Child[])} children
 * @returns {SVGElementTagNameMap[T]}
 */
export function svg(tag, props, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

/**
 * @template {Element} E
 * @param {E} element
 * @param {Props | undefined} props
 * @param {(Child | Child[])[]} children
 * @returns {E}
 */
function fill(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (name === "on") {
      for (const [type, listener] of Object.entries(/** @type {NonNullable<Props["on"]>} */ (value))) {
        element.addEventListener(type, listener);
      }
    } else if (name === "text") element.textContent = value == null ? "" : withoutEscapes(String(value));
    else if (name === "title" || name === "aria-label") {
      if (value !== false && value != null) element.setAttribute(name, withoutEscapes(String(value)));
    } else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, String(value));
  }
  for (const child of children.flat()) {
    if (child !== null && child !== undefined && child !== false) element.append(child instanceof Node ? child : withoutEscapes(String(child)));
  }
  return element;
}

/**
 * Makes the children of `parent` those of `items`, in this order. An element whose key stays is kept, with its focus
 * and its scroll position; `update` gets every element, also a new one.
 * @template T
 * @param {Element} parent
 * @param {T[]} items
 * @param {(item: T) => string} keyOf
 * @param {(item: T) => HTMLElement} create
 * @param {(element: HTMLElement, item: T) => void} [update]
 */
export function keyed(parent, items, keyOf, create, update) {
  const focused = parent.contains(document.activeElement) ? /** @type {HTMLElement} */ (document.activeElement) : null;
  const wanted = new Set(items.map(keyOf));
  /** @type {Map<string, HTMLElement>} */
  const kept = new Map();
  for (const child of [...parent.children]) {
    const key = child instanceof HTMLElement ? child.dataset.key : undefined;
    if (key !== undefined && wanted.has(key)) kept.set(key, /** @type {HTMLElement} */ (child));
    else child.remove();
  }
  let next = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    let element = kept.get(key);
    if (!element) {
      element = create(item);
      element.dataset.key = key;
    }
    update?.(element, item);
    if (element === next) next = next.nextElementSibling;
    else parent.insertBefore(element, next);
  }
  // An element that has been moved has lost the focus.
  if (focused?.isConnected && document.activeElement !== focused) focused.focus({ preventScroll: true });
}
