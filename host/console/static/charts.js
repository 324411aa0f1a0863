// Draws the charts of the monitoring pages with uPlot, in the page's colours.
"use strict";
(() => {
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const named = {
    succeeded: "--accent", failed: "--bad", interrupted: "--warn", cancelled: "--line-strong",
    p50: "--accent", p95: "--warn", p99: "--bad",
    "in use": "--accent", running: "--accent", waiting: "--warn", dead: "--bad", refused: "--bad", room: "--line-strong", free: "--line-strong",
    instances: "--accent", taken: "--accent", schedules: "--warn", "being tried": "--accent",
  };
  const others = ["--bad", "--warn", "--code-keyword", "--code-name", "--accent", "--line-strong", "--code-number"];

  const sizes = {
    count: (value) => value.toLocaleString(),
    ms: (value) => value >= 1000 ? `${(value / 1000).toLocaleString(undefined, {maximumFractionDigits: 1})} s`
      : `${value.toLocaleString(undefined, {maximumSignificantDigits: 3})} ms`,
    bytes: (value) => {
      const units = ["B", "KiB", "MiB", "GiB"];
      let at = 0;
      while (value >= 1024 && at < units.length - 1) { value /= 1024; at += 1; }
      return `${value.toLocaleString(undefined, {maximumSignificantDigits: 3})} ${units[at]}`;
    },
  };

  // Distances of the axis's lines: whole numbers for what is counted, powers of two for bytes.
  const distances = {
    count: [...Array(16).keys()].flatMap((power) => [1, 2, 5].map((digit) => digit * 10 ** power)),
    bytes: [...Array(50).keys()].map((power) => 2 ** power),
  };

  // Times in the reader's own way; days where the range is long.
  const clock = new Intl.DateTimeFormat(undefined, {hour: "2-digit", minute: "2-digit"});
  const day = new Intl.DateTimeFormat(undefined, {month: "short", day: "numeric"});
  const date = (tick, at) => (at[at.length - 1] - at[0] > 2 * 86400 ? day : clock).format(new Date(tick * 1000));

  const draw = (place) => {
    const data = JSON.parse(place.dataset.chart);
    const show = sizes[data.unit];
    const bars = data.kind === "bars";
    const step = data.at.length > 1 ? data.at[1] - data.at[0] : 60;
    const colour = (series, at) => css(named[series.name] || others[at % others.length]);
    // Bars stand on each other: each is drawn from the bottom to the sum of those below.
    const sums = data.at.map(() => 0);
    const stacked = data.series.map((series) => series.values.map((value, at) => {
      sums[at] += value || 0;
      return sums[at];
    }));
    const drawn = bars ? stacked : data.series.map((series) => series.values);
    const order = data.series.map((_, at) => at);
    if (bars) order.reverse();
    const axis = {stroke: css("--text-soft"), size: 32, grid: {stroke: css("--line"), width: 1}, ticks: {show: false}, font: "11px system-ui, sans-serif"};
    const options = {
      width: place.clientWidth, height: 200, padding: [8, 24, 0, 0],
      cursor: {y: false, points: {show: !bars}},
      // A step lasts until the next one begins, the last one too.
      scales: {x: {range: () => [data.at[0], data.at[data.at.length - 1] + step]}, y: {range: (_, __, max) => [0, max > 0 ? max * 1.1 : 1]}},
      axes: [
        {...axis, grid: {show: false}, space: 80, values: (_, ticks) => ticks.map((tick) => date(tick, data.at))},
        {...axis, size: 64, space: 36, incrs: distances[data.unit], values: (_, ticks) => ticks.map(show)},
      ],
      series: [
        {label: "Time", value: (_, at) => at == null ? "–" : new Date(at * 1000).toLocaleString()},
        ...order.map((at) => {
          const stroke = colour(data.series[at], at);
          return {
            label: data.series[at].name,
            stroke,
            width: bars ? 0 : 1.5,
            fill: bars ? stroke : undefined,
            points: {show: !bars && data.series[at].values.filter((value) => value != null).length < 60, size: 5, fill: stroke},
            paths: bars ? uPlot.paths.bars({size: [0.75, 40], align: 1}) : undefined,
            spanGaps: false,
            value: (_, __, ___, index) => {
              const value = index == null ? null : data.series[at].values[index];
              return value == null ? "–" : show(value);
            },
          };
        }),
      ],
    };
    place.replaceChildren();
    const plot = new uPlot(options, [data.at, ...order.map((at) => drawn[at])], place);
    return () => plot.setSize({width: place.clientWidth, height: 200});
  };

  let resize = [];
  const all = () => { resize = [...document.querySelectorAll("[data-chart]")].map(draw); };
  let timer = null;
  addEventListener("resize", () => { clearTimeout(timer); timer = setTimeout(() => resize.forEach((one) => one()), 100); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", all);
  all();
})();
