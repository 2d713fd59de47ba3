// What is wrong with the page as it stands, one line each.
(() => {
  const wrong = [];
  const name = e => e.tagName.toLowerCase() + (e.id ? "#" + e.id : "") + (e.className.baseVal ?? e.className ? "." + (e.className.baseVal ?? e.className).trim().replace(/ +/g, ".") : "");
  const shown = e => e.checkVisibility({ contentVisibilityAuto: true }) && e.getBoundingClientRect().width > 0;

  // Nothing is wider than the window, but what scrolls by itself.
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > width) wrong.push(`the page is ${document.documentElement.scrollWidth} px wide, the window ${width}`);
  for (const e of document.body.querySelectorAll("*")) {
    if (e.closest(".scroll") !== null && !e.matches(".scroll") || e.closest("svg") && e.tagName !== "svg" || e.matches(".skip") || !shown(e)) continue;
    const box = e.getBoundingClientRect();
    if (box.right > width + 0.5 || box.left < -0.5) wrong.push(`${name(e)} reaches from ${box.left} to ${box.right} of ${width}`);
  }

  // Text of a picture stays within it, but for foreign names, which are cut.
  for (const text of document.querySelectorAll("svg text")) {
    const svg = text.ownerSVGElement, box = text.getBoundingClientRect(), around = svg.getBoundingClientRect();
    if (!shown(svg) || text.textContent.length > 60) continue;
    if (box.right > around.right + 1 || box.left < around.left - 1 || box.bottom > around.bottom + 1) wrong.push(`text ${JSON.stringify(text.textContent)} leaves ${svg.querySelector("title").textContent}`);
  }
  // No two labels of a picture lie on each other.
  for (const svg of document.querySelectorAll("svg.lanes")) {
    if (!shown(svg)) continue;
    const boxes = [...svg.querySelectorAll(".mark text, text.tick, text.name")].map(t => [t.textContent, t.getBoundingClientRect()]);
    for (let i = 0; i < boxes.length; i++) for (let k = i + 1; k < boxes.length; k++) {
      const [x, a] = boxes[i], [y, b] = boxes[k];
      if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 2 && b.top < a.bottom - 2) wrong.push(`labels ${JSON.stringify(x)} and ${JSON.stringify(y)} overlap in ${svg.querySelector("title").textContent}`);
    }
  }

  // Headings in order, one h1.
  let level = 0;
  for (const h of document.querySelectorAll("h1, h2, h3, h4, h5, h6")) {
    const n = +h.tagName[1];
    if (n > level + 1 && !(h.closest(".alarm") && level === 0)) wrong.push(`heading ${n} after ${level}: ${h.textContent}`);
    level = n;
    if (!h.textContent.trim()) wrong.push("an empty heading");
  }
  if (document.querySelectorAll("h1").length !== 1) wrong.push("not exactly one h1");
  if (!document.documentElement.lang || !document.title.trim()) wrong.push("no language or no title");
  for (const part of ["main", "header", "footer", "nav[aria-label]"]) if (!document.querySelector(part)) wrong.push(`no ${part}`);

  // Pictures have names, ids are unique, references lead somewhere.
  const ids = new Map();
  for (const e of document.querySelectorAll("[id]")) ids.set(e.id, (ids.get(e.id) ?? 0) + 1);
  for (const [id, n] of ids) if (n > 1) wrong.push(`id ${id} is there ${n} times`);
  for (const svg of document.querySelectorAll("svg")) {
    const title = document.getElementById(svg.getAttribute("aria-labelledby"));
    if (svg.getAttribute("role") !== "img" || !title || !svg.contains(title) || !title.textContent.trim()) wrong.push(`a picture without role or title: ${name(svg)}`);
  }
  for (const e of document.querySelectorAll("[aria-labelledby]")) if (!document.getElementById(e.getAttribute("aria-labelledby"))?.textContent.trim()) wrong.push(`${name(e)} is labelled by nothing`);
  for (const a of document.querySelectorAll("a")) {
    const href = a.getAttribute("href");
    if (/^[^/:#?]+\/report\.html$/.test(href)) continue; // the report of one of several locks
    if (!href?.startsWith("#") || !document.getElementById(href.slice(1))) wrong.push(`a link that leads nowhere: ${href}`);
    if (!(a.textContent.trim() || a.getAttribute("aria-label"))) wrong.push(`a link without a name: ${href}`);
  }
  for (const t of document.querySelectorAll("table")) if (!t.querySelector("th[scope=col]")) wrong.push("a table without heads");
  for (const e of document.querySelectorAll("script, link[rel=stylesheet], img, iframe, [onclick], [onload]")) wrong.push(`there is a ${name(e)}`);

  // Contrast as WCAG AA has it.
  const rgb = s => { const m = s.match(/[\d.]+/g).map(Number); return { r: m[0], g: m[1], b: m[2], a: m[3] ?? 1 }; };
  const light = c => { const f = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; return 0.2126 * f(c.r) + 0.7152 * f(c.g) + 0.0722 * f(c.b); };
  const ratio = (x, y) => { const [a, b] = [light(x), light(y)].sort((p, q) => q - p); return (a + 0.05) / (b + 0.05); };
  const behind = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c.a > 0) return c; } return { r: 255, g: 255, b: 255 }; };
  const poor = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !shown(e) || e.closest("title, .skip, .hidden")) continue;
    const style = getComputedStyle(e), inside = e.closest("svg");
    let back = behind(e), front = rgb(inside ? style.fill : style.color);
    if (e.matches(".in-hold")) back = rgb(getComputedStyle(e.previousElementSibling).fill);
    const big = parseFloat(style.fontSize) >= 24 || parseFloat(style.fontSize) >= 18.66 && +style.fontWeight >= 700;
    const have = ratio(front, back);
    if (have < (big ? 3 : 4.5)) poor.add(`contrast ${have.toFixed(2)} of ${name(e)}`);
  }
  return wrong.concat([...poor]).slice(0, 20);
})()
