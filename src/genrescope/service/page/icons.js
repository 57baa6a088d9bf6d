// Icons as inline SVG: characters such as ▶ and ♥ are drawn as emoji on some phones.
const OUTLINES = {
  heart: "M12 20C5.5 15.8 3 12.6 3 9.2 3 6.6 5 4.8 7.3 4.8c1.9 0 3.6 1.1 4.7 3 1.1-1.9 2.8-3 4.7-3C19 4.8 21 6.6 21 9.2c0 3.4-2.5 6.6-9 10.8z",
  dislike: "M17 3.8v10l-4.1 6.4c-1.4 0-2.4-1.2-2.2-2.6l.5-3.6H6.5c-1.4 0-2.4-1.3-2-2.6l1.6-5.9c.3-1 1.2-1.7 2.2-1.7zM17 3.8h3.3v10H17",
  add: "M12 5v14M5 12h14",
  less: "M5 12h14",
  up: "M12 19V5M6 11l6-6 6 6",
  down: "M12 5v14M6 13l6 6 6-6",
  close: "M6.5 6.5l11 11M17.5 6.5l-11 11",
  whole: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
  edit: "M4.5 19.5l1-4.2L16 4.8l3.2 3.2L8.7 18.5z",
  path: "M6 18.5a2 2 0 1 0 0-.1M18 5.5a2 2 0 1 0 0-.1M8 18c9 0-1-12 8-12",
};
const SOLIDS = {
  play: "M8 5.2v13.6c0 .7.8 1.1 1.4.7l10-6.8c.5-.3.5-1.1 0-1.4l-10-6.8C8.8 4.1 8 4.5 8 5.2z",
  pause: "M7 5h3.6v14H7zM13.4 5H17v14h-3.6z",
  next: "M6 5.6v12.8c0 .6.7 1 1.2.6L15 13v5.5h2.5v-13H15V11L7.2 5C6.7 4.6 6 5 6 5.6z",
  previous: "M18 5.6v12.8c0 .6-.7 1-1.2.6L9 13v5.5H6.5v-13H9V11l7.8-6c.5-.4 1.2 0 1.2.6z",
  volume: "M4 9.5v5h3.5L13 19V5L7.5 9.5zM15.5 8.5v7c1.5-.7 2.5-2 2.5-3.5s-1-2.8-2.5-3.5z",
};
const SPACE = "http://www.w3.org/2000/svg";

export function picture(name) {
  const image = document.createElementNS(SPACE, "svg"), path = document.createElementNS(SPACE, "path");
  image.setAttribute("viewBox", "0 0 24 24");
  image.setAttribute("aria-hidden", "true");
  image.setAttribute("class", name in SOLIDS ? "sign solid" : "sign");
  path.setAttribute("d", SOLIDS[name] ?? OUTLINES[name]);
  image.append(path);
  return image;
}
