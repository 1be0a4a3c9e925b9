// Places the tasks of a graph in layers, from what must be done first on the left to what waits for it on the right.

/**
 * @typedef {{from: string, to: string}} Edge From a dependency to its dependent.
 * @typedef {{id: string, layer: number, x: number, y: number}} Placed The top left corner of a task's box.
 * @typedef {{from: string, to: string, points: [number, number][]}} Line The points that an edge goes through.
 * @typedef {{nodes: Placed[], lines: Line[], width: number, height: number}} Layout
 * @typedef {{id: string, layer: number, y: number, order: number, box: boolean, before: Slot[], after: Slot[]}} Slot
 *   A place in a layer: that of a task, or of a line that passes the layer.
 */

/** The size of a box and the space around it. */
export const BOX = { width: 208, height: 52, gapX: 56, gapY: 16 };
const PASSING = 14;
// Beyond this many places for lines that pass layers, lines go straight: drawing them well would take too long.
const MAX_PASSING = 4000;

/**
 * Lays out a graph. The same input has the same result. Edges that name unknown tasks are left out; one that closes a
 * circle is drawn, and ignored for the layers.
 * @param {string[]} ids @param {Edge[]} edges
 * @returns {Layout}
 */
export function layout(ids, edges) {
  /** @type {Map<string, Slot>} */
  const slots = new Map();
  for (const id of ids) slots.set(id, slot(id, true));
  /** @type {Map<string, [Slot, Slot]>} */
  const links = new Map();
  for (const { from, to } of edges) {
    const [a, b] = [slots.get(from), slots.get(to)];
    if (a && b && a !== b) links.set(JSON.stringify([from, to]), [a, b]);
  }
  const forward = assignLayers([...slots.values()], [...links.values()]);
  const linked = new Set([...links.values()].flat());
  const alone = [...slots.values()].filter((one) => !linked.has(one));

  /** @type {Slot[][]} */
  const layers = [];
  const put = (/** @type {Slot} */ one) => {
    const layer = (layers[one.layer] ??= []);
    one.order = layer.length;
    layer.push(one);
  };
  for (const one of slots.values()) if (linked.has(one)) put(one);
  const passing = forward.reduce((sum, [a, b]) => sum + b.layer - a.layer - 1, 0);
  /** @type {Map<[Slot, Slot], Slot[]>} */
  const routes = new Map();
  for (const link of forward) {
    const [a, b] = link;
    const route = [a];
    if (passing <= MAX_PASSING) {
      for (let layer = a.layer + 1; layer < b.layer; layer++) {
        const place = slot("", false);
        place.layer = layer;
        put(place);
        route.push(place);
      }
    }
    route.push(b);
    for (let i = 1; i < route.length; i++) {
      route[i - 1].after.push(route[i]);
      route[i].before.push(route[i - 1]);
    }
    routes.set(link, route);
  }
  order(layers);
  place(layers);

  const column = BOX.width + BOX.gapX;
  const x = (/** @type {number} */ layer) => layer * column;
  let bottom = 0;
  for (const one of layers.flat()) bottom = Math.max(bottom, one.y + height(one) + BOX.gapY);
  // Tasks that nothing depends on and that depend on nothing fill rows below the graph.
  const perRow = Math.max(layers.length, 4);
  alone.forEach((one, index) => {
    one.layer = index % perRow;
    one.y = bottom + Math.floor(index / perRow) * (BOX.height + BOX.gapY);
  });
  const nodes = [...slots.values()].map(({ id, layer, y }) => ({ id, layer, x: x(layer), y }));
  const lines = [...links.values()].map((link) => {
    const route = routes.get(link) ?? link;
    /** @type {[number, number][]} */
    const points = [];
    route.forEach((one, index) => {
      const middle = one.y + height(one) / 2;
      if (index > 0) points.push([x(one.layer), middle]);
      if (index < route.length - 1) points.push([x(one.layer) + BOX.width, middle]);
    });
    return { from: link[0].id, to: link[1].id, points };
  });
  return {
    nodes,
    lines,
    width: Math.max(0, ...nodes.map((node) => node.x + BOX.width)),
    height: Math.max(0, ...nodes.map((node) => node.y + BOX.height)),
  };
}

/** @param {string} id @param {boolean} box @returns {Slot} */
function slot(id, box) {
  return { id, layer: 0, y: 0, order: 0, box, before: [], after: [] };
}

/** @param {Slot} one @returns {number} */
function height(one) {
  return one.box ? BOX.height : PASSING;
}

/**
 * Gives each slot a layer one beyond the last of its dependencies.
 * @param {Slot[]} slots @param {[Slot, Slot][]} links
 * @returns {[Slot, Slot][]} The links that lead from a lower layer to a higher one.
 */
function assignLayers(slots, links) {
  /** @type {Map<Slot, [Slot, Slot][]>} */
  const out = new Map(slots.map((one) => [one, []]));
  const waits = new Map(slots.map((one) => [one, 0]));
  for (const link of links) {
    out.get(link[0])?.push(link);
    waits.set(link[1], (waits.get(link[1]) ?? 0) + 1);
  }
  const ready = slots.filter((one) => !waits.get(one));
  const done = new Set(ready);
  for (let next = 0; next < slots.length; next++) {
    // Only circles are left: one of their tasks goes first.
    if (next === ready.length) {
      const first = slots.find((one) => !done.has(one));
      if (!first) break;
      ready.push(first);
      done.add(first);
    }
    const one = ready[next];
    for (const [, b] of out.get(one) ?? []) {
      const left = (waits.get(b) ?? 0) - 1;
      waits.set(b, left);
      if (done.has(b)) continue;
      b.layer = Math.max(b.layer, one.layer + 1);
      if (left === 0) {
        ready.push(b);
        done.add(b);
      }
    }
  }
  return links.filter(([a, b]) => a.layer < b.layer);
}

/** @param {Slot[][]} layers Brings each slot near its neighbours, so that fewer lines cross. */
function order(layers) {
  for (let sweep = 0; sweep < 4; sweep++) {
    const down = sweep % 2 === 0;
    for (const layer of down ? layers : [...layers].reverse()) {
      for (const one of layer) {
        const near = down ? one.before : one.after;
        let sum = 0;
        for (const other of near) sum += other.order;
        one.y = near.length ? sum / near.length : one.order;
      }
      layer.sort((a, b) => a.y - b.y || a.order - b.order);
      layer.forEach((one, index) => (one.order = index));
    }
  }
}

/** @param {Slot[][]} layers Chooses heights: in order, apart, and as near to the neighbours as that allows. */
function place(layers) {
  let least = 0;
  for (const layer of layers) {
    let y = 0;
    for (const one of layer) {
      one.y = y;
      y += height(one) + BOX.gapY;
    }
  }
  for (let pass = 0; pass < 6; pass++) {
    const down = pass % 2 === 0;
    least = Infinity;
    for (const layer of down ? layers : [...layers].reverse()) {
      // Without the space that those before it need, the order of a layer is that its positions do not fall. The
      // positions nearest to the wanted ones under that rule are the means of blocks (pool adjacent violators).
      let offset = 0;
      /** @type {{sum: number, count: number}[]} */
      const blocks = [];
      for (const one of layer) {
        const near = down ? one.before : one.after;
        let wanted = one.y;
        if (near.length) {
          let sum = 0;
          for (const other of near) sum += other.y + height(other) / 2;
          wanted = sum / near.length - height(one) / 2;
        }
        let [sum, count] = [wanted - offset, 1];
        offset += height(one) + BOX.gapY;
        for (let last = blocks.at(-1); last && last.sum / last.count >= sum / count; last = blocks.at(-1)) {
          blocks.pop();
          sum += last.sum;
          count += last.count;
        }
        blocks.push({ sum, count });
      }
      let index = 0;
      offset = 0;
      for (const { sum, count } of blocks) {
        for (let i = 0; i < count; i++, index++) {
          layer[index].y = sum / count + offset;
          offset += height(layer[index]) + BOX.gapY;
        }
        least = Math.min(least, layer[index - count].y);
      }
    }
  }
  for (const one of layers.flat()) one.y = Math.round(one.y - least);
}
