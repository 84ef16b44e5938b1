// Sites and vaults as a map: each link carries the groups that go that way, and is as bad as the worst of them.
import { type Edge, Handle, MarkerType, type Node, type NodeProps, Position } from '@xyflow/react';
import { useMemo } from 'react';
import type { Schemas } from '../../api/client';
import { useConnection } from '../../api/connection';
import { useMessages } from '../../i18n/i18n';
import { Flow } from '../../ui/flow';
import { type Format, useFormat } from '../../ui/format';
import { sites as words } from './messages';

type LinkOf = Schemas['VaultLink'];

const colours: Record<LinkOf['health'], string> = { healthy: 'var(--good)', warning: 'var(--warn)', critical: 'var(--bad)', unknown: 'var(--idle)' };
const across = 400;
const down = 96;

export default function SiteMap({ links }: { links: LinkOf[] }) {
  const w = useMessages(words);
  const f = useFormat();
  const { reachable } = useConnection();
  const { nodes, edges } = useMemo(() => lay(links, reachable, f, w), [links, reachable, f, w]);
  const rows = Math.max(...nodes.map((n) => n.position.y)) / down + 1;
  return <Flow label={w.map} height={Math.min(560, rows * down + 40)} nodes={nodes} edges={edges} types={types} />;
}

/** Three columns: where machines run, vaults, where they are recovered. */
function lay(links: LinkOf[], reachable: boolean, f: Format, w: { groups: (n: number) => string; lag: (t: string) => string }) {
  const columns = [[...new Set(links.map((l) => l.site))], [...new Set(links.map((l) => l.vault))], [...new Set(links.map((l) => l.target))]];
  const tallest = Math.max(...columns.map((c) => c.length));
  const kinds = ['site', 'vault', 'site'];
  const nodes: Node[] = columns.flatMap((names, c) =>
    names.map((name, r) => ({
      id: `${c}/${name}`, type: 'place', data: { name, kind: kinds[c] }, position: { x: c * across, y: (r + (tallest - names.length) / 2) * down }, style: { width: 150, height: 52 },
    })),
  );
  const edge = (id: string, source: string, target: string, of: LinkOf[]): Edge => {
    const worst = (['critical', 'unknown', 'warning', 'healthy'] as const).find((h) => of.some((l) => l.health === h)) ?? 'unknown';
    const colour = colours[reachable ? worst : 'unknown'];
    const groups = of.reduce((n, l) => n + l.groups, 0);
    const lags = of.flatMap((l) => (l.loseSeconds === undefined ? [] : [l.loseSeconds]));
    const label = source.startsWith('0/') ? `${w.groups(groups)}${lags.length > 0 ? ` · ${w.lag(f.duration(Math.max(...lags)))}` : ''}` : w.groups(groups);
    return {
      id, source, target, label, style: { stroke: colour, strokeWidth: 2.5 }, markerEnd: { type: MarkerType.ArrowClosed, color: colour }, labelStyle: { fill: 'var(--dim)', fontSize: 11 }, labelBgStyle: { fill: 'var(--sheet)' },
    };
  };
  const pairs = (a: 'site' | 'vault', b: 'vault' | 'target') => [...new Set(links.map((l) => `${l[a]}\n${l[b]}`))].map((p) => p.split('\n') as [string, string]);
  const edges = [
    ...pairs('site', 'vault').map(([s, v]) => edge(`a${s}/${v}`, `0/${s}`, `1/${v}`, links.filter((l) => l.site === s && l.vault === v))),
    ...pairs('vault', 'target').map(([v, t]) => edge(`b${v}/${t}`, `1/${v}`, `2/${t}`, links.filter((l) => l.vault === v && l.target === t))),
  ];
  return { nodes, edges };
}

function Place({ data }: NodeProps) {
  return (
    <div className={`flow-item ${data.kind === 'vault' ? 'approval' : ''}`}>
      <Handle type="target" position={Position.Left} isConnectable={false} />
      <strong>{String(data.name)}</strong>
      <span>{String(data.kind)}</span>
      <Handle type="source" position={Position.Right} isConnectable={false} />
    </div>
  );
}

const types = { place: Place };
