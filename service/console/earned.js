'use strict';
// What recommendations earned: counts and rates by model version, A/B tests, plots.

const WIDTH = 300, LABEL = 100, ROW = 22;

function svg(tag, attributes, ...children) {
  const node = labelled(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes);
  node.append(...children);
  return node;
}

const percent = (share) => `${(100 * share).toPrecision(3).replace(/\.?0+$/, '')} %`;
const shorter = (text) => (text.length > 15 ? `…${text.slice(-14)}` : text);

// Rows with a label, a point and the interval around it, on one scale. A row without an estimate has none.
function intervalPlot(title, rows, name, line) {
  const known = rows.filter((row) => row.rate);
  const ends = known.flatMap(({ rate }) => [rate.low, rate.high, rate.value]).concat(line === undefined ? [] : [line]);
  const low = Math.min(...ends), high = Math.max(...ends);
  const x = (value) => LABEL + 8 + (WIDTH - LABEL - 16) * (high > low ? (value - low) / (high - low) : 0.5);
  const parts = known.flatMap(({ label, rate }, at) => {
    const y = ROW * (at + 0.5);
    return [
      svg('text', { x: 0, y: y + 4 }, shorter(label)),
      svg('line', { class: 'interval', x1: x(rate.low), x2: x(rate.high), y1: y, y2: y }),
      svg('circle', { class: 'estimate', cx: x(rate.value), cy: y, r: 4 },
        svg('title', {}, `${label}: ${name(rate.value)}, from ${name(rate.low)} to ${name(rate.high)}`)),
    ];
  });
  const bottom = ROW * known.length;
  if (line !== undefined) parts.push(svg('line', { class: 'axis', x1: x(line), x2: x(line), y1: 0, y2: bottom }));
  parts.push(svg('text', { x: LABEL, y: bottom + 14 }, name(low)), svg('text', { x: WIDTH, y: bottom + 14, 'text-anchor': 'end' }, name(high)));
  return figure(title, bottom + 18, parts, known.map(({ label, rate }) => `${label} ${name(rate.value)}`));
}

function barPlot(title, bars) {
  const height = 70, top = Math.max(...bars.map((bar) => bar.value)) || 1, width = WIDTH / bars.length;
  const parts = bars.flatMap(({ label, value }, at) => [
    svg('rect', { class: 'bar', x: width * at + 1, width: Math.max(1, width - 2), y: height * (1 - value / top), height: (height * value) / top },
      svg('title', {}, `position ${label}: ${percent(value)}`)),
    ...(bars.length <= 20 ? [svg('text', { x: width * (at + 0.5), y: height + 13, 'text-anchor': 'middle' }, label)] : []),
  ]);
  return figure(title, height + 16, parts, bars.map(({ label, value }) => `position ${label} ${percent(value)}`));
}

function figure(title, height, parts, spoken) {
  const plot = svg('svg', { class: 'plot', viewBox: `0 0 ${WIDTH} ${height}`, role: 'img', 'aria-label': `${title}: ${spoken.join(', ')}` }, ...parts);
  return element('figure', {}, element('figcaption', { className: 'soft' }, title), plot);
}

const countsOf = (counts) => pairs(Object.entries(counts).map(([name, value]) => [name, format(value)]));

function versionParts(versions) {
  const parts = versions.map((version, at) => element('details', { open: at === 0 },
    element('summary', {}, version.model_version), countsOf(version.counts)));
  const rows = versions.map((version) => ({ label: version.model_version, rate: version.rates.click_rate }));
  if (rows.some((row) => row.rate)) parts.push(intervalPlot('Clicks per impression, with 95 % intervals', rows, percent));
  const bars = versions[0].positions.filter((each) => each.impressions > 0)
    .map((each) => ({ label: String(each.position), value: each.clicks / each.impressions }));
  if (bars.length) parts.push(barPlot(`Clicks per impression by position, ${versions[0].model_version}`, bars));
  return parts;
}

function experimentParts(experiment) {
  const rows = experiment.versions.filter((arm) => arm.uplift).flatMap((arm) => Object.entries(arm.uplift)
    .map(([metric, rate]) => ({ label: metric.replaceAll('_', ' '), rate, arm })));
  const outcomes = rows.filter((row) => row.rate)
    .map(({ label, rate, arm }) => element('p', { className: 'soft' }, `${arm.model_version}: ${label} ${rate.decision}, p ${rate.p_value.toPrecision(2)}.`));
  const title = `A/B test ${experiment.experiment}${experiment.running ? ', running' : ''}`;
  const parts = [element('h3', {}, title)];
  if (outcomes.length) parts.push(intervalPlot('Uplift over the first version, with 95 % intervals', rows, percent, 0), ...outcomes);
  else parts.push(element('p', { className: 'soft' }, 'Not enough impressions and clicks yet.'));
  return parts;
}

async function showEarned() {
  let answer;
  try {
    ({ answer } = await call('GET', 'v1/admin/experiments'));
  } catch (error) {
    if (error.status !== 403 || storage.get(KEY)) throw error;
    $('earned-facts').replaceChildren(element('p', { className: 'soft' }, error.message)); // the server has no keys
    return;
  }
  const parts = answer.versions.length ? versionParts(answer.versions)
    : [element('p', { className: 'soft' }, 'No event with a recommendation id has been counted yet.')];
  $('earned-facts').replaceChildren(...parts, ...answer.experiments.flatMap(experimentParts));
}
