// Recovery points on an axis of time: a tick each, taller the more consistent, bold when it has a name. A click takes the point
// nearest to it; the list below does the same by keyboard.
import { Group, SegmentedControl, Select, Stack, Text } from '@mantine/core';
import { type MouseEvent, useMemo, useState } from 'react';
import type { Schemas } from '../api/client';
import { messages, useMessages } from '../i18n/i18n';
import { useFormat } from './format';
import { useNow } from './time';

type Point = Schemas['RecoveryPoint'];

const words = messages({
  en: {
    hour: '1 hour', day: '1 day', week: '1 week', all: 'All', range: 'Range', pick: 'Point', now: 'now', crash: 'crash consistent', filesystem: 'file-system consistent', application: 'application consistent', none: 'No recovery point in this range',
    count: (n: number) => (n === 1 ? '1 recovery point' : `${n} recovery points`),
  },
  ja: {
    hour: '1 時間', day: '1 日', week: '1 週間', all: 'すべて', range: '範囲', pick: 'ポイント', now: '現在', crash: 'クラッシュ整合', filesystem: 'ファイルシステム整合', application: 'アプリケーション整合', none: 'この範囲に復旧ポイントはありません',
    count: (n) => `復旧ポイント ${n} 件`,
  },
  fr: {
    hour: '1 heure', day: '1 jour', week: '1 semaine', all: 'Tout', range: 'Période', pick: 'Point', now: 'maintenant', crash: 'cohérent après arrêt brutal', filesystem: 'cohérent pour le système de fichiers', application: 'cohérent pour les applications', none: 'Aucun point de reprise dans cette période',
    count: (n) => (n === 1 ? '1 point de reprise' : `${n} points de reprise`),
  },
});

const hours = { hour: 1, day: 24, week: 168 } as const;
const tallness: Record<string, number> = { crash: 0.45, filesystem: 0.65, application: 0.9 };
/** As many as a list can show; older ones are found by a narrower range. */
const listed = 500;

interface Props {
  /** The oldest first. */
  points: Point[];
  /** The ID of the point that is chosen. */
  value?: string;
  onPick: (p: Point) => void;
}

export function PointStrip({ points, value, onPick }: Props) {
  const w = useMessages(words);
  const f = useFormat();
  const now = useNow();
  const [range, setRange] = useState<keyof typeof hours | 'all'>('day');
  const oldest = points[0] ? Date.parse(points[0].time) : now;
  const from = range === 'all' ? Math.min(oldest, now - 3600_000) : now - hours[range] * 3600_000;
  const inside = useMemo(() => points.filter((p) => Date.parse(p.time) >= from), [points, from]);
  const at = (p: Point) => (1000 * (Date.parse(p.time) - from)) / (now - from);
  const name = (p: Point) => `${f.short(p.time)} · ${(w as Record<string, unknown>)[p.kind] ?? p.kind}${p.names?.length ? ` · ${p.names.join(', ')}` : ''}`;
  const pick = (e: MouseEvent<SVGSVGElement>) => {
    const box = e.currentTarget.getBoundingClientRect();
    const x = (1000 * (e.clientX - box.left)) / box.width;
    const nearest = inside.reduce<Point | undefined>((best, p) => (!best || Math.abs(at(p) - x) < Math.abs(at(best) - x) ? p : best), undefined);
    if (nearest) onPick(nearest);
  };
  const chosen = inside.find((p) => p.id === value);
  return (
    <Stack gap="xs">
      <Group justify="space-between" gap="xs">
        <SegmentedControl size="xs" aria-label={w.range} value={range} onChange={(v) => setRange(v as typeof range)} data={(['hour', 'day', 'week', 'all'] as const).map((v) => ({ value: v, label: w[v] }))} />
        <Text size="sm" className="dim">
          {w.count(inside.length)}
        </Text>
      </Group>
      <svg viewBox="0 0 1000 64" preserveAspectRatio="none" width="100%" height={64} onClick={pick} className="strip" aria-hidden>
        <line x1="0" x2="1000" y1="63" y2="63" />
        {inside.map((p) => (
          <line key={p.id} x1={at(p)} x2={at(p)} y1={62 - 60 * (tallness[p.kind] ?? 0.45)} y2={62} className={p.names?.length ? 'point named' : `point ${p.kind}`}>
            <title>{name(p)}</title>
          </line>
        ))}
        {chosen && <line x1={at(chosen)} x2={at(chosen)} y1="0" y2="64" className="chosen" />}
      </svg>
      <Group justify="space-between">
        <Text size="xs" className="dim">
          {f.short(from)}
        </Text>
        <Text size="xs" className="dim">
          {w.now}
        </Text>
      </Group>
      <Select
        label={w.pick}
        placeholder={inside.length === 0 ? w.none : undefined}
        data={inside
          .slice(-listed)
          .reverse()
          .map((p) => ({ value: p.id, label: `${name(p)} · ${p.id}` }))}
        value={chosen?.id ?? null}
        onChange={(id) => {
          const p = inside.find((one) => one.id === id);
          if (p) onPick(p);
        }}
        searchable
        disabled={inside.length === 0}
        maw={520}
      />
    </Stack>
  );
}
