// A plan as a graph, from top to bottom: a box for what precedes the stages, each stage, and what follows them. Loaded when it is wanted.
import './plan.css';
import { type Edge, Handle, type Node, type NodeProps, Position } from '@xyflow/react';
import { useMemo } from 'react';
import type { Schemas } from '../../api/client';
import { useMessages } from '../../i18n/i18n';
import { Flow } from '../../ui/flow';
import { plan as words } from './messages';

type Block = Schemas['PlanBlock'];
type Item = { text: string; about?: string; kind: string };

const width = 220;
const height = 58;
const gap = 22;
const head = 38;

export default function Graph({ blocks }: { blocks: Block[] }) {
  const w = useMessages(words);
  const { nodes, edges, tall } = useMemo(
    () => lay(blocks, (b, stage) => (b.kind === 'stage' ? w.stage(stage, b.stage ?? '') : b.kind === 'before' ? w.before : w.after)),
    [blocks, w],
  );
  return <Flow label={w.graph} height={Math.max(220, Math.min(720, tall + 40))} nodes={nodes} edges={edges} types={types} />;
}

/** Rows of nodes, one under the other; machines of a stage stand side by side, since they start at the same time. */
function lay(blocks: Block[], title: (b: Block, stage: number) => string) {
  const nodes: Node[] = [];
  const edges: Edge[] = [];
  const wide = Math.max(1, ...blocks.map((b) => b.machines.length)) * (width + gap) + gap;
  let y = 0;
  let stage = 0;
  let last: string[] = [];
  for (const [i, b] of blocks.entries()) {
    if (b.kind === 'stage') stage++;
    const rows: Item[][] = [
      ...b.before.map((a) => [{ text: a.name, about: about(a), kind: a.kind as string }]),
      ...(b.machines.length > 0 ? [b.machines.map((m) => ({ text: m, kind: 'machine' }))] : []),
      ...b.after.map((a) => [{ text: a.name, about: about(a), kind: a.kind as string }]),
    ];
    const tall = head + rows.length * (height + gap);
    nodes.push({ id: `b${i}`, type: 'block', position: { x: 0, y }, data: {}, style: { width: wide, height: tall }, zIndex: -1 });
    // Over the edges, which come down from the block before.
    nodes.push({ id: `t${i}`, type: 'title', position: { x: 0, y }, data: { title: title(b, stage) }, zIndex: 1 });
    let at = y + head;
    for (const [r, row] of rows.entries()) {
      const left = (wide - row.length * (width + gap) + gap) / 2;
      const ids = row.map((item, c) => {
        const id = `n${i}-${r}-${c}`;
        nodes.push({ id, type: 'item', position: { x: left + c * (width + gap), y: at }, data: { ...item }, style: { width, height } });
        return id;
      });
      for (const from of last) for (const to of ids) edges.push({ id: `${from}-${to}`, source: from, target: to });
      last = ids;
      at += height + gap;
    }
    y += tall + gap;
  }
  return { nodes, edges, tall: y };
}

function about(a: Schemas['PlanAction']): string {
  return a.conditions ? `${a.summary} (${a.conditions})` : a.summary;
}

function BlockNode() {
  return <div className="plan-block" />;
}

function TitleNode({ data }: NodeProps) {
  return <div className="plan-title">{String(data.title)}</div>;
}

function ItemNode({ data }: NodeProps) {
  const item = data as unknown as Item;
  return (
    <div className={`flow-item ${item.kind}`} title={item.about}>
      <Handle type="target" position={Position.Top} isConnectable={false} />
      <strong>{item.text}</strong>
      {item.about && <span>{item.about}</span>}
      <Handle type="source" position={Position.Bottom} isConnectable={false} />
    </div>
  );
}

const types = { block: BlockNode, title: TitleNode, item: ItemNode };
