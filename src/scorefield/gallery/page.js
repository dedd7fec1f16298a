"use strict";
// The page's own script: a filter, sliders, two runs side by side, and a viewer of .glb files.

const articles = [...document.querySelectorAll("article")];
const main = document.querySelector("main");
const words = document.getElementById("filter");

function arrange() {
  const marked = articles.filter((a) => a.querySelector(".mark")?.checked);
  const pair = marked.length === 2;
  const text = words.value.trim().toLowerCase();
  main.classList.toggle("pair", pair);
  for (const a of articles) {
    const named = a.querySelector("h2").textContent + " " + a.querySelector("code").textContent;
    a.hidden = pair ? !marked.includes(a) : !named.toLowerCase().includes(text);
  }
  document.getElementById("compare").textContent = pair
    ? "Two runs side by side; unmark one to see all."
    : marked.length > 2 ? "Mark two runs, not more." : "Mark two runs to see them side by side.";
}
words.addEventListener("input", arrange);
main.addEventListener("change", (event) => { if (event.target.matches(".mark")) arrange(); });
arrange();

for (const slider of document.querySelectorAll("[data-previews]")) {
  const previews = slider.dataset.previews.split(" ").map((pair) => pair.split(/:(.*)/s));
  const figure = slider.closest("figure");
  slider.addEventListener("input", () => {
    const [step, link] = previews[slider.value];
    figure.querySelector("img").src = link;
    figure.querySelector("output").textContent = `step ${step}`;
  });
}

// A model is loaded as a script and drawn while it is in sight: a browser has few WebGL contexts.
let waiting = Promise.resolve();
let receive = null;
window.showModel = (data) => receive(data);

function load(source) {
  waiting = waiting.then(() => new Promise((resolve, reject) => {
    receive = (data) => resolve(Uint8Array.from(atob(data), (c) => c.charCodeAt(0)).buffer);
    const script = document.createElement("script");
    script.src = source;
    script.onerror = () => reject(new Error(`${source} is missing`));
    document.head.append(script);
    script.onload = () => script.remove();
  }));
  const result = waiting;
  waiting = waiting.catch(() => null);
  return result;
}

const SIZES = { SCALAR: 1, VEC2: 2, VEC3: 3, VEC4: 4 };
const ARRAYS = { 5121: Uint8Array, 5123: Uint16Array, 5125: Uint32Array, 5126: Float32Array };

async function parse(buffer) {
  const view = new DataView(buffer);
  const length = view.getUint32(12, true);
  const tree = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 20, length)));
  const start = 28 + length;
  const bytes = (index) => {
    const part = tree.bufferViews[index];
    return buffer.slice(start + (part.byteOffset || 0), start + (part.byteOffset || 0) + part.byteLength);
  };
  const values = (index) => {
    if (index === undefined) return null;
    const accessor = tree.accessors[index], size = SIZES[accessor.type], kind = ARRAYS[accessor.componentType];
    const part = bytes(accessor.bufferView), each = size * kind.BYTES_PER_ELEMENT;
    const stride = tree.bufferViews[accessor.bufferView].byteStride || each;
    const packed = new Uint8Array(accessor.count * each);
    for (let i = 0; i < accessor.count; i++) {
      packed.set(new Uint8Array(part, (accessor.byteOffset || 0) + i * stride, each), i * each);
    }
    return new kind(packed.buffer);
  };
  const picture = async (texture) => {
    if (!texture) return null;
    const source = tree.images[tree.textures[texture.index].source];
    return createImageBitmap(new Blob([bytes(source.bufferView)], { type: source.mimeType }));
  };
  const parts = [];
  for (const [mesh, matrix] of placed(tree)) {
    for (const primitive of tree.meshes[mesh].primitives) {
      if ((primitive.mode ?? 4) !== 4) continue; // lines and points have no surface
      const { POSITION, NORMAL, TEXCOORD_0, COLOR_0 } = primitive.attributes;
      const paint = tree.materials?.[primitive.material]?.pbrMetallicRoughness;
      const indices = values(primitive.indices);
      const positions = moved(values(POSITION), matrix, 1);
      parts.push({
        positions, uv: values(TEXCOORD_0), colours: values(COLOR_0),
        indices: indices && new Uint32Array(indices),
        normals: NORMAL === undefined ? null : moved(values(NORMAL), matrix, 0),
        factor: paint?.baseColorFactor ?? [1, 1, 1, 1], image: await picture(paint?.baseColorTexture),
      });
    }
  }
  if (!parts.length) throw new Error("it has no triangles");
  return parts;
}

// The meshes of a scene, each with its place: a matrix, column after column, as glTF has them.
function placed(tree) {
  const found = [], nodes = tree.nodes ?? [];
  const visit = (index, above) => {
    const node = nodes[index], here = times(above, node.matrix ?? placement(node));
    if (node.mesh !== undefined) found.push([node.mesh, here]);
    for (const child of node.children ?? []) visit(child, here);
  };
  const inside = new Set(nodes.flatMap((node) => node.children ?? []));
  const roots = tree.scenes?.[tree.scene ?? 0]?.nodes ?? [...nodes.keys()].filter((i) => !inside.has(i));
  for (const root of roots) visit(root, placement({}));
  return found;
}

function placement({ translation: [a, b, c] = [0, 0, 0], rotation: [x, y, z, w] = [0, 0, 0, 1], scale: [u, v, t] = [1, 1, 1] }) {
  return [
    u * (1 - 2 * (y * y + z * z)), u * 2 * (x * y + z * w), u * 2 * (x * z - y * w), 0,
    v * 2 * (x * y - z * w), v * (1 - 2 * (x * x + z * z)), v * 2 * (y * z + x * w), 0,
    t * 2 * (x * z + y * w), t * 2 * (y * z - x * w), t * (1 - 2 * (x * x + y * y)), 0,
    a, b, c, 1,
  ];
}

function times(a, b) {
  return Array.from({ length: 16 }, (_, i) =>
    [0, 1, 2, 3].reduce((sum, k) => sum + a[4 * k + (i % 4)] * b[4 * (i >> 2) + k], 0));
}

// Positions (last 1), or directions (last 0), of a node where the scene has them.
function moved(vectors, m, last) {
  const out = new Float32Array(vectors.length);
  for (let i = 0; i < vectors.length; i += 3) {
    const [x, y, z] = vectors.subarray(i, i + 3);
    for (let k = 0; k < 3; k++) out[i + k] = m[k] * x + m[4 + k] * y + m[8 + k] * z + m[12 + k] * last;
  }
  return out;
}

const VERTEX = `#version 300 es
in vec3 position, normal; in vec2 uv; in vec4 colour;
uniform vec4 turn; uniform vec4 place; // angles (cos, sin); centre and scale
out vec3 facing, where; out vec2 at; out vec4 paint;
vec3 turned(vec3 p) {
  p = vec3(turn.x * p.x + turn.y * p.z, p.y, turn.x * p.z - turn.y * p.x);
  return vec3(p.x, turn.z * p.y - turn.w * p.z, turn.z * p.z + turn.w * p.y);
}
void main() {
  vec3 p = turned((position - place.xyz) * place.w);
  where = p; facing = turned(normal); at = uv; paint = colour;
  gl_Position = vec4(p.xy * 2.4, -p.z * 0.5, 3.0 - p.z);
}`;
const FRAGMENT = `#version 300 es
precision highp float;
in vec3 facing, where; in vec2 at; in vec4 paint; out vec4 seen;
uniform sampler2D picture; uniform bool textured; uniform bool flatly; uniform vec4 factor;
void main() {
  vec3 base = textured ? texture(picture, at).rgb : vec3(1.0);
  base *= pow(paint.rgb * factor.rgb, vec3(1.0 / 2.2)); // both are linear, a picture is not
  vec3 normal = flatly ? cross(dFdx(where), dFdy(where)) : facing; // without normals, as glTF says
  float light = 0.62 + 0.38 * max(0.0, dot(normalize(normal), normalize(vec3(0.4, 0.7, 0.8))));
  seen = vec4(base * light, 1.0);
}`;

function program(gl) {
  const made = gl.createProgram();
  for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    gl.attachShader(made, shader);
  }
  gl.linkProgram(made);
  return made;
}

function upload(gl, made, part) {
  const array = gl.createVertexArray();
  gl.bindVertexArray(array);
  const attribute = (name, values, size, normalized = false) => {
    const place = gl.getAttribLocation(made, name);
    if (place < 0) return;
    if (!values) { gl.vertexAttrib4f(place, 1, 1, 1, 1); return; }
    const type = values instanceof Float32Array ? gl.FLOAT
      : values instanceof Uint16Array ? gl.UNSIGNED_SHORT : gl.UNSIGNED_BYTE;
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(place);
    gl.vertexAttribPointer(place, size, type, normalized, 0, 0);
  };
  const count = part.positions.length / 3;
  attribute("position", part.positions, 3);
  attribute("normal", part.normals, 3);
  attribute("uv", part.uv, 2, true);
  attribute("colour", part.colours, part.colours ? part.colours.length / count : 4, true);
  if (part.indices) {
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, part.indices, gl.STATIC_DRAW);
  }
  const texture = part.image && gl.createTexture();
  if (texture) {
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, part.image);
    gl.generateMipmap(gl.TEXTURE_2D);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR_MIPMAP_LINEAR);
  }
  return { array, texture, flatly: !part.normals, factor: part.factor, indexed: Boolean(part.indices), count: part.indices?.length ?? count };
}

function frame(parts) {
  const low = [Infinity, Infinity, Infinity], high = [-Infinity, -Infinity, -Infinity];
  for (const { positions } of parts) {
    positions.forEach((x, i) => {
      low[i % 3] = Math.min(low[i % 3], x);
      high[i % 3] = Math.max(high[i % 3], x);
    });
  }
  const centre = low.map((x, i) => (x + high[i]) / 2);
  return [...centre, 2 / (Math.hypot(...low.map((x, i) => high[i] - x)) || 1)];
}

class Viewer {
  constructor(figure) {
    this.figure = figure;
    this.canvas = figure.querySelector("canvas");
    this.azimuth = 0.5; this.elevation = 0.3; this.zoom = 1;
    this.turning = !matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.listen();
  }
  async start() {
    if (this.wanted) return;
    this.wanted = true;
    try {
      this.model ??= await parse(await load(this.figure.dataset.source));
    } catch (error) {
      this.figure.querySelector("figcaption").textContent = `The model cannot be shown: ${error.message}`;
      return;
    }
    if (!this.wanted) return;
    const gl = this.gl = this.canvas.getContext("webgl2", { antialias: true, preserveDrawingBuffer: true });
    if (!gl) { this.figure.querySelector("figcaption").append(" (this browser has no WebGL 2)"); return; }
    if (gl.isContextLost()) { this.lost.restoreContext(); return; }
    this.prepare();
  }
  prepare() {
    const gl = this.gl;
    this.lost = gl.getExtension("WEBGL_lose_context");
    this.made = program(gl);
    gl.useProgram(this.made);
    gl.enable(gl.DEPTH_TEST);
    this.parts = this.model.map((part) => upload(gl, this.made, part));
    this.place = frame(this.model);
    this.before = performance.now();
    this.timer = requestAnimationFrame((now) => this.draw(now));
  }
  stop() {
    this.wanted = false;
    cancelAnimationFrame(this.timer);
    if (this.gl && !this.gl.isContextLost()) this.lost?.loseContext();
  }
  draw(now) {
    const gl = this.gl;
    if (this.turning) this.azimuth += (now - this.before) * 5e-4;
    this.before = now;
    gl.viewport(0, 0, this.canvas.width, this.canvas.height);
    gl.clearColor(0.914, 0.925, 0.945, 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    const [a, e] = [this.azimuth, this.elevation];
    gl.uniform4f(gl.getUniformLocation(this.made, "turn"), Math.cos(a), Math.sin(a), Math.cos(e), Math.sin(e));
    const [x, y, z, scale] = this.place;
    gl.uniform4f(gl.getUniformLocation(this.made, "place"), x, y, z, scale * this.zoom);
    for (const part of this.parts) {
      gl.bindVertexArray(part.array);
      gl.bindTexture(gl.TEXTURE_2D, part.texture);
      gl.uniform1i(gl.getUniformLocation(this.made, "textured"), part.texture ? 1 : 0);
      gl.uniform1i(gl.getUniformLocation(this.made, "flatly"), part.flatly ? 1 : 0);
      gl.uniform4fv(gl.getUniformLocation(this.made, "factor"), part.factor);
      if (part.indexed) gl.drawElements(gl.TRIANGLES, part.count, gl.UNSIGNED_INT, 0);
      else gl.drawArrays(gl.TRIANGLES, 0, part.count);
    }
    this.canvas.dataset.drawn = "yes";
    this.timer = requestAnimationFrame((later) => this.draw(later));
  }
  turn(across, up) {
    this.turning = false;
    this.azimuth += across;
    this.elevation = Math.max(-1.5, Math.min(1.5, this.elevation + up));
  }
  listen() {
    const canvas = this.canvas;
    canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
    canvas.addEventListener("pointermove", (event) => {
      if (event.buttons) this.turn(event.movementX * 0.01, event.movementY * 0.01);
    });
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.scale(Math.exp(-event.deltaY * 1e-3));
    }, { passive: false });
    const keys = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] };
    canvas.addEventListener("keydown", (event) => {
      if (keys[event.key]) this.turn(...keys[event.key]);
      else if (event.key === "+" || event.key === "-") this.scale(event.key === "+" ? 1.1 : 1 / 1.1);
      else return;
      event.preventDefault();
    });
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => { if (this.wanted) this.prepare(); });
  }
  scale(by) { this.zoom = Math.max(0.3, Math.min(2.2, this.zoom * by)); }
}

const viewers = new Map([...document.querySelectorAll(".model")].map((f) => [f, new Viewer(f)]));
const sight = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const viewer = viewers.get(entry.target);
    if (entry.isIntersecting) viewer.start(); else viewer.stop();
  }
}, { rootMargin: "100px" });
for (const figure of viewers.keys()) sight.observe(figure);
