// Applies the patches of poise/lab/patch.py. What a patch does not touch keeps its identity, so that `===` tells a
// drawing which of its parts are new.

export type Patch = Record<string, unknown>;

export function apply(old: unknown, patch: Patch): unknown {
  if ("$same" in patch) return old;
  if ("$set" in patch) return patch.$set;
  if ("$more" in patch) return [...(old as unknown[]), ...(patch.$more as unknown[])];
  if ("$items" in patch) {
    const changed = patch.$items as Record<string, Patch>;
    const items = [...(old as unknown[])];
    for (const at of Object.keys(changed)) items[Number(at)] = apply(items[Number(at)], changed[at] as Patch);
    return items;
  }
  const kept: Record<string, unknown> = { ...(old as Record<string, unknown>) };
  for (const key of (patch.$gone as string[] | undefined) ?? []) delete kept[key];
  const inner = patch.$keys as Record<string, Patch>;
  for (const key of Object.keys(inner)) kept[key] = apply(kept[key], inner[key] as Patch);
  return kept;
}
