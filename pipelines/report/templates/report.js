// Optional comfort: reading values off the dose-volume histogram. The report says everything without it.
"use strict";
(() => {
  const plot = document.getElementById("dvh");
  if (!plot) return;
  const data = plot.dataset;
  const left = Number(data.left), right = Number(data.right), low = Number(data.low), high = Number(data.high);
  const box = plot.viewBox.baseVal;
  const top = Number(data.top), bottom = Number(data.bottom);
  const curves = [...plot.querySelectorAll(".curve")].map((curve) => ({
    name: curve.dataset.name,
    points: curve.getAttribute("points").split(" ").map((pair) => pair.split(",").map(Number)),
  }));
  const readout = document.createElement("p");
  readout.id = "readout";
  readout.textContent = "Point at the plot to read volumes at a dose.";
  plot.after(readout);
  const at = (points, u) => {
    for (let i = 1; i < points.length; i += 1) {
      const [u0, v0] = points[i - 1], [u1, v1] = points[i];
      if (u0 <= u && u <= u1) return u1 === u0 ? v1 : v0 + ((v1 - v0) * (u - u0)) / (u1 - u0);
    }
    return u < points[0][0] ? top : bottom;
  };
  plot.addEventListener("pointermove", (event) => {
    const area = plot.getBoundingClientRect();
    const u = ((event.clientX - area.left) / area.width) * box.width;
    if (u < left || u > right) return;
    const dose = low + ((u - left) / (right - left)) * (high - low);
    const values = curves.map(({ name, points }) => {
      const percent = (100 * (bottom - at(points, u))) / (bottom - top);
      return `${name} ${percent.toFixed(1)} %`;
    });
    readout.textContent = `At ${dose.toFixed(1)} Gy: ${values.join(" · ")}`;
  });
})();
