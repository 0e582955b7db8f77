// The playground: the page's state, its requests, and the display of their answers.

import * as api from "./api.js";
import { byId, make, nameOf } from "./elements.js";
import { apartFromMean, heatMap } from "./heatmap.js";
import { RankingList } from "./ranking.js";
import { searchBox } from "./search.js";
import { lightUp, showUser } from "./user.js";

const SHOWN_BEHAVIOURS = 200;
const RANDOM_ADS = 20;
const FIRST_ADS = 12; // when the page opens
const NOBODY = "nobody"; // a new user, while the store has none
const THEME = "dinrank-theme";

const state = {
  model: null, // the champion, as GET /model says
  others: [], // of GET /models, those that are served beside it
  other: null, // the one of them that is compared
  userId: "",
  user: null,
  names: new Map(), // titles by item id
  candidates: [], // {item_id, title, bid}
  selected: null,
  context: {},
};
const list = new RankingList(byId("ranking"), {
  setBid(candidate, bid) {
    candidate.bid = bid;
    rank();
  },
  remove(candidate) {
    state.candidates = state.candidates.filter((each) => each !== candidate);
    if (state.selected === candidate) state.selected = null;
    rank();
  },
  select(candidate) {
    state.selected = candidate;
    rank();
  },
});
const otherList = new RankingList(byId("other-ranking"));

/** Show an error, and ask for a key if one is needed. */
function fail(error) {
  if (!(error instanceof api.Problem)) throw error;
  byId("key-form").hidden = error.status !== 401;
  byId("problem").hidden = error.status === 401;
  byId("problem").textContent = error.message;
}

const succeed = () => {
  byId("problem").hidden = true;
};

/** Run a handler that calls the service, and show its error. */
const asking = (handler) => (...values) => Promise.resolve(handler(...values)).catch(fail);

// --- the user

const showThisUser = asking(async (userId) => {
  state.userId = userId;
  byId("user-id").value = userId;
  const user = await api.user(userId, SHOWN_BEHAVIOURS);
  await learnNames((user?.behaviours ?? []).map((behaviour) => behaviour.item_id));
  if (userId !== state.userId) return; // another one was picked meanwhile
  state.user = user;
  showUser(user, state.names, state.model.max_behaviours);
  rank();
});

const addBehaviour = asking(async (item) => {
  const times = (state.user?.behaviours ?? []).map((behaviour) => behaviour.timestamp);
  // In the data's own unit: just after the newest.
  const timestamp = times.length ? Math.max(...times) + 1 : Math.floor(Date.now() / 1000);
  await api.addBehaviour(state.userId, item.item_id, timestamp);
  await showThisUser(state.userId);
});

async function learnNames(itemIds) {
  const unknown = [...new Set(itemIds)].filter((itemId) => !state.names.has(itemId));
  for (const item of await api.titles(unknown)) state.names.set(item.item_id, item.title);
}

// --- the candidates

function addCandidates(items, bids = []) {
  items.forEach((item, place) => {
    if (state.candidates.some((each) => each.item_id === item.item_id)) return;
    if (state.candidates.length === state.model.max_candidates) return;
    state.candidates.push({ ...item, bid: bids[place] ?? someBid() });
  });
  rank();
}

/** Log-normal, as bids tend to be; in the currency's hundredths. */
function someBid() {
  const normal = Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
  return Math.round(100 * Math.exp(-0.7 + 0.5 * normal)) / 100;
}

// --- the ranking

let isAsking = false;
let isStale = false;

/** Request a ranking of the page's current state. While an answer is pending, only the newest request is kept. */
async function rank() {
  if (isAsking) {
    isStale = true;
    return;
  }
  isAsking = true;
  byId("ranking").setAttribute("aria-busy", "true");
  try {
    do {
      isStale = false;
      await rankOnce().catch(learnModelsAnew);
    } while (isStale);
    succeed();
    remember();
  } catch (error) {
    fail(error);
  } finally {
    isAsking = false;
    byId("ranking").setAttribute("aria-busy", "false");
  }
}

/** The service has swapped its bundle: load the model again, and rank with it. */
async function learnModelsAnew(error) {
  if (error.kind !== "model-not-served") throw error;
  await learnModels();
  isStale = true;
}

async function rankOnce() {
  const candidates = [...state.candidates];
  if (!candidates.length || !state.userId) return show([], null, null);
  const request = {
    user_id: state.userId,
    candidates: candidates.map(({ item_id, bid }) => ({ ad_id: item_id, bid })),
    context: state.context,
    reserve_price: Number(byId("reserve").value) || 0,
    second_prices: byId("second-prices").checked,
  };
  const asks = [{ version: state.model.version, explains: state.model.explains }];
  if (state.other) asks.push({ version: state.other.model.version, explains: state.other.explains });
  const answers = await Promise.all(
    asks.map(({ version, explains }) => api.rank({ ...request, model: version, explain: explains })),
  );
  show(candidates, answers[0], answers[1] ?? null);
}

function show(candidates, answer, other) {
  const byAd = new Map(candidates.map((candidate) => [candidate.item_id, candidate]));
  const ads = answer?.ads ?? [];
  if (!byAd.has(state.selected?.item_id)) state.selected = ads.length ? byAd.get(ads[0].ad_id) : null;
  const inAnswer = new Set(ads.map((ad) => ad.ad_id));
  const left = candidates.filter((candidate) => !inAnswer.has(candidate.item_id));
  list.show(ads.map((ad) => ({ candidate: byAd.get(ad.ad_id), ad, because: because(ad) })), left, state.selected);
  byId("summary").textContent = summary(answer);
  const selected = ads.find((ad) => ad.ad_id === state.selected?.item_id);
  const weights = selected?.activation_weights?.map((each) => each.weight) ?? null;
  lightUp(weights, Math.max(0, ...ads.flatMap((ad) => ad.activation_weights ?? []).map((each) => Math.abs(each.weight))));
  byId("other").hidden = other === null;
  if (other !== null) {
    const rankHere = new Map(ads.map((ad) => [ad.ad_id, ad.rank]));
    byId("other-title").textContent = `${other.model.name} ${other.model.version}`;
    otherList.show(
      other.ads.map((ad) => ({ candidate: byAd.get(ad.ad_id), ad, moved: rankHere.get(ad.ad_id) - ad.rank })), [], null,
    );
  }
  byId("heat-maps").replaceChildren(...[answer, other].filter((each) => each?.ads.length).map((each) => map(each, byAd)));
  byId("reading").textContent = "";
}

function because(ad) {
  if (!ad.strongest?.length) return "";
  const times = new Map(); // the same item may have been there several times
  for (const { item_id } of ad.strongest) times.set(item_id, (times.get(item_id) ?? 0) + 1);
  const names = [...times].map(([itemId, count]) => (state.names.get(itemId) || itemId) + (count > 1 ? ` ×${count}` : ""));
  return `most activated: ${names.join(" · ")}`;
}

function summary(answer) {
  if (!state.candidates.length) return "Add candidates: search for some, or take 20 random ones.";
  if (answer === null) return "Pick a user.";
  const parts = [`${answer.ads.length} ads ranked on ${answer.behaviours} behaviours`];
  if (answer.below_reserve) parts.push(`${answer.below_reserve} below the reserve price`);
  if (answer.degraded.length) parts.push(`degraded: without ${answer.degraded.join(", ")}`);
  return `${parts.join("; ")}.`;
}

function map(answer, byAd) {
  const caption = `${answer.model.name} ${answer.model.version}`;
  if (!answer.ads[0].activation_weights) {
    return make("p", { className: "quiet" }, `${caption} has no activation weights: it sums behaviours up without looking at the ad.`);
  }
  const rows = answer.ads.map((ad) => ({
    name: nameOf(byAd.get(ad.ad_id)),
    weights: ad.activation_weights.map((each) => each.weight),
  }));
  const isApart = document.querySelector("#colours input:checked").value === "apart";
  return heatMap({
    caption,
    rows,
    colours: isApart ? apartFromMean(rows) : null,
    behaviours: answer.ads[0].activation_weights.map((each) => state.names.get(each.item_id) || each.item_id),
    read: (text) => {
      byId("reading").textContent = text;
    },
  });
}

// --- the address: a link to the page's state can be shared

function remember() {
  const ads = state.candidates.map(({ item_id, bid }) => `${encodeURIComponent(item_id)}:${bid}`).join(",");
  history.replaceState(null, "", `#user=${encodeURIComponent(state.userId)}&ads=${ads}`);
}

function remembered() {
  const parts = new Map(location.hash.slice(1).split("&").map((part) => part.split("=", 2)));
  const ads = (parts.get("ads") ?? "").split(",").filter(Boolean).map((ad) => ad.split(":", 2));
  return {
    userId: decodeURIComponent(parts.get("user") ?? ""),
    itemIds: ads.map(([itemId]) => decodeURIComponent(itemId)),
    bids: ads.map(([, bid]) => Number(bid) || 0),
  };
}

// --- the page

function showContext(features) {
  const fields = features.filter((feature) => feature.group === "context").map((feature) => {
    const input = make("input", { placeholder: feature.kind === "multi" ? "several, with commas" : "unknown" });
    input.addEventListener("input", () => {
      const text = input.value.trim();
      delete state.context[feature.name];
      if (text) state.context[feature.name] = feature.kind === "multi" ? text.split(",").map((each) => each.trim()) : text;
      rank();
    });
    return make("label", {}, `${feature.name} `, input);
  });
  byId("context").replaceChildren(...fields);
}

async function learnModels() {
  state.model = await api.model();
  state.others = (await api.models()).filter((each) => each.model.version !== state.model.version);
  state.other = state.others.find((each) => each.model.version === state.other?.model.version) ?? null;
  byId("model").textContent = `${state.model.name} ${state.model.version}`;
  byId("compare-field").hidden = !state.others.length;
  byId("compare").replaceChildren(
    make("option", { value: "" }, "nothing"),
    ...state.others.map(({ model, role }) => make("option", { value: model.version }, `${role}: ${model.name} ${model.version}`)),
  );
  byId("compare").value = state.other?.model.version ?? "";
}

/** Redis may not allow the service to list users; ids can still be typed. */
function sayWhyNoUsers(error) {
  if (!(error instanceof api.Problem) || error.status !== 503) throw error;
  byId("users-note").textContent = `No list of users: ${error.message}`;
  return [];
}

function switchTheme(theme) {
  document.documentElement.dataset.theme = theme;
  localStorage.setItem(THEME, theme);
}

const open = asking(async () => {
  await learnModels();
  byId("key-form").hidden = true;
  showContext(state.model.features);
  const users = await api.someUsers().catch(sayWhyNoUsers);
  byId("some-users").replaceChildren(...users.map((userId) => make("option", { value: userId })));
  const before = remembered();
  if (before.itemIds.length) {
    await learnNames(before.itemIds);
    addCandidates(before.itemIds.map((itemId) => ({ item_id: itemId, title: state.names.get(itemId) ?? "" })), before.bids);
  } else {
    addCandidates(await api.randomItems(FIRST_ADS));
  }
  await showThisUser(before.userId || users[0] || NOBODY);
  document.documentElement.dataset.ready = "true";
});

const dark = matchMedia("(prefers-color-scheme: dark)");
switchTheme(localStorage.getItem(THEME) ?? (dark.matches ? "dark" : "light"));
byId("theme").addEventListener("click", () => switchTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  api.rememberKey(byId("key").value);
  open();
});
byId("user-form").addEventListener("submit", (event) => {
  event.preventDefault();
  showThisUser(byId("user-id").value.trim());
});
byId("random").addEventListener("click", asking(async () => addCandidates(await api.randomItems(RANDOM_ADS))));
byId("clear").addEventListener("click", () => {
  state.candidates = [];
  state.selected = null;
  rank();
});
byId("reserve").addEventListener("input", rank);
byId("second-prices").addEventListener("change", rank);
byId("colours").addEventListener("change", rank);
byId("compare").addEventListener("change", (event) => {
  state.other = state.others.find((each) => each.model.version === event.target.value) ?? null;
  rank();
});
addEventListener("hashchange", () => location.reload()); // an address that was typed
searchBox(byId("add-candidate"), { id: "candidate", label: "Add a candidate", choose: (item) => addCandidates([item]), fail });
searchBox(byId("add-behaviour"), {
  id: "behaviour",
  label: "Add a behaviour (written to the feature store)",
  choose: addBehaviour,
  fail,
});
open();
