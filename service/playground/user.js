// One user: profile and behaviours, lit up as the selected ad activates them.

import { byId, make, nameWithId } from "./elements.js";

/** `user` is what GET /users says, or null; `names` has titles by item id; `used` is how many behaviours the model takes. */
export function showUser(user, names, used) {
  const profile = Object.entries(user?.profile ?? {});
  byId("profile").replaceChildren(
    ...profile.map(([name, value]) =>
      make("div", {}, make("dt", {}, name), make("dd", {}, Array.isArray(value) ? value.join(", ") : String(value))),
    ),
  );
  const behaviours = [...(user?.behaviours ?? [])].reverse();
  byId("behaviours-note").textContent = note(user, behaviours.length, used);
  byId("behaviours").replaceChildren(
    ...behaviours.map((behaviour) =>
      make("li", {}, ...nameWithId({ item_id: behaviour.item_id, title: names.get(behaviour.item_id) ?? "" })),
    ),
  );
}

function note(user, shown, used) {
  if (user === null) return "Nothing is stored of this user. New users are ranked for too, without a history.";
  if (!shown) return "No behaviours yet.";
  const all = user.num_behaviours > shown ? `${user.num_behaviours} are stored; the newest ${shown} are here. ` : "";
  return `${all}The model uses the newest ${used}. The colour is the selected ad's activation weight.`;
}

/** Light the behaviours up by an ad's weights, oldest first; none when `weights` is null. */
export function lightUp(weights, strongest) {
  const rows = [...byId("behaviours").children].reverse(); // oldest first; the first ones may be beyond the model's maximum
  const beyond = rows.length - (weights?.length ?? 0);
  rows.forEach((row, place) => {
    const weight = weights?.[place - beyond];
    row.classList.toggle("lit", weight !== undefined);
    row.classList.toggle("negative", weight < 0);
    row.style.setProperty("--strength", weight === undefined || !strongest ? 0 : Math.abs(weight) / strongest);
    row.dataset.weight = weight === undefined ? "" : weight.toFixed(3);
  });
}
