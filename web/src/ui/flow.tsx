// A graph that is looked at, not edited: React Flow with what would let it be changed turned off. Load it lazily.
import '@xyflow/react/dist/style.css';
import './flow.css';
import { useMantineColorScheme } from '@mantine/core';
import { type Edge, type Node, type NodeTypes, ReactFlow } from '@xyflow/react';

export function Flow({ label, height, nodes, edges, types }: { label: string; /** in pixels */ height: number; nodes: Node[]; edges: Edge[]; types: NodeTypes }) {
  const { colorScheme } = useMantineColorScheme();
  return (
    <div style={{ height }} role="group" aria-label={label}>
      <ReactFlow
        key={nodes.map((n) => n.id).join()} // what it fits into its frame is decided when it is made
        nodes={nodes}
        edges={edges}
        nodeTypes={types}
        colorMode={colorScheme === 'auto' ? 'system' : colorScheme}
        style={{ background: 'transparent' }}
        fitView
        fitViewOptions={{ maxZoom: 1, padding: 0.05 }}
        minZoom={0.2}
        nodesDraggable={false}
        nodesConnectable={false}
        nodesFocusable={false}
        edgesFocusable={false}
        elementsSelectable={false}
        zoomOnScroll={false}
        preventScrolling={false}
      />
    </div>
  );
}
