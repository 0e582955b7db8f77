// Client of the service's API, and its errors.

const KEY = "dinrank-key"; // in this tab alone

/** A failed request: HTTP's `status`, and the service's `kind` and `message`. */
export class Problem extends Error {
  constructor(status, message, kind = "") {
    super(message);
    this.status = status;
    this.kind = kind;
  }
}

export function rememberKey(key) {
  sessionStorage.setItem(KEY, key);
}

async function call(path, body) {
  const headers = {};
  const key = sessionStorage.getItem(KEY);
  if (key) headers["X-API-Key"] = key;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, {
      method: body === undefined ? "GET" : "POST",
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new Problem(0, "The service does not answer. Is it still running?");
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) {
    const kind = (answer.type ?? "").split(":").pop();
    throw new Problem(response.status, answer.detail || `The service answered ${response.status}.`, kind);
  }
  return answer;
}

const query = (values) => new URLSearchParams(values).toString();

export const model = () => call("/model");
export const models = async () => (await call("/models")).models;
export const rank = (request) => call("/rank", request);
export const someUsers = async () => (await call(`/playground/users?${query({ count: 50 })}`)).user_ids;
export const search = async (text) => (await call(`/playground/items?${query({ search: text, count: 12 })}`)).items;
export const randomItems = async (count) => (await call(`/playground/items/random?${query({ count })}`)).items;
export const titles = async (itemIds) =>
  itemIds.length ? (await call("/playground/titles", { item_ids: itemIds })).items : [];

/** Everything stored about a user; null if unknown. */
export async function user(userId, limit) {
  try {
    return await call(`/users/${encodeURIComponent(userId)}?${query({ limit })}`);
  } catch (error) {
    if (error instanceof Problem && error.status === 404) return null;
    throw error;
  }
}

/** Writes one behaviour to the feature store. */
export function addBehaviour(userId, itemId, timestamp) {
  const random = crypto.getRandomValues(new Uint8Array(16));
  const eventId = "playground-" + Array.from(random, (octet) => octet.toString(16).padStart(2, "0")).join("");
  return call("/behaviours", { events: [{ event_id: eventId, user_id: userId, item_id: itemId, timestamp }] });
}
