// Images that glow: functions without state, for sampling.js.

const NIGHT = "#0e1218"; // behind the images, in light pages and dark ones
// Of images as they come, and of kinds of them; any other kind has the last one's.
const LIGHT = {
  plain: "255,190,80",
  mislabelled: "255,60,120",
  rare: "70,190,255",
  copy: "110,235,120",
  other: "200,140,255",
};

const light = (kind) => LIGHT[kind] || LIGHT.other;

const halos = {};
function halo(kind) {
  if (halos[kind]) return halos[kind];
  const canvas = Object.assign(document.createElement("canvas"), { width: 64, height: 64 });
  const context = canvas.getContext("2d");
  const glow = context.createRadialGradient(32, 32, 6, 32, 32, 32);
  for (const [where, strength] of [[0, 0.55], [0.55, 0.32], [1, 0]])
    glow.addColorStop(where, `rgba(${light(kind)},${strength})`);
  context.fillStyle = glow;
  context.fillRect(0, 0, 64, 64);
  return (halos[kind] = canvas);
}

// Where image `number` lies on the sheet {picture, tile, across}, as drawImage takes it.
function cut({ picture, tile, across }, number) {
  return [picture, (number % across) * tile, Math.floor(number / across) * tile, tile, tile];
}

// An image, `side` pixels wide at (x, y), as bright as amount (0 to 1) says, in the light of its kind; inside: how much
// of that falls onto the image itself, which washes out colours. A kind's image has a corner in its colour.
function glowing(context, source, kind, x, y, side, amount, inside) {
  const inner = side * 0.84, pad = (side - inner) / 2, strength = Math.min(1, 0.25 + amount * 0.75, amount * 4);
  const shine = (alpha) => {
    context.globalCompositeOperation = "lighter";
    context.globalAlpha = Math.min(1, alpha);
    context.drawImage(halo(kind), x - side * 0.4, y - side * 0.4, side * 1.8, side * 1.8);
    context.globalCompositeOperation = "source-over";
  };
  if (amount > 0.01 && inside < 1) shine(strength);
  context.globalAlpha = 0.26 + 0.74 * Math.min(1, amount * 1.6);
  context.drawImage(...source, x + pad, y + pad, inner, inner);
  if (amount > 0.01) {
    shine(strength * inside);
    context.globalAlpha = strength;
    context.strokeStyle = `rgb(${light(kind)})`;
    context.lineWidth = Math.max(1, side * 0.07);
    context.strokeRect(x + pad, y + pad, inner, inner);
  }
  context.globalAlpha = 1;
  if (kind === "plain") return;
  context.fillStyle = `rgb(${light(kind)})`;
  context.beginPath();
  context.moveTo(x + pad, y + pad);
  context.lineTo(x + pad + side * 0.27, y + pad);
  context.lineTo(x + pad, y + pad + side * 0.27);
  context.fill();
}
