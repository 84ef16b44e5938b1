import type { Schemas } from '../../api/client';

/** A plan to begin with, which fits a group: its machines by their order, and an approval before anything is changed. */
export function template(group: Schemas['Group']): string {
  const orders = [...new Set(group.machines.map((m) => m.order ?? 0))].sort((a, b) => a - b);
  const stages = orders.map((order, i) => {
    const machines = group.machines.filter((m) => (m.order ?? 0) === order).map((m) => m.name);
    return `  - name: stage ${i + 1}\n    machines: [${machines.join(', ')}]\n`;
  });
  return `name: ${group.name}
group: ${group.name}
before:
  - name: go ahead
    approval: {message: "Move \${run.group} to \${run.target}?"}
    timeout: 1h
    when: {kinds: [planned, unplanned]}
stages:
${stages.join('')}`;
}
