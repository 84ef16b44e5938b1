// The three facts about a group, which are never one: whether it needs somebody, whether recovery points are made, and whether
// they were shown to boot. While the controller cannot be reached all of them are unknown.
import { useConnection } from '../api/connection';
import type { Schemas } from '../api/client';
import { messages, useMessages } from '../i18n/i18n';
import { Fact, type Tone } from './badge';
import { useFormat } from './format';
import { useNow } from './time';

export type Health = Schemas['Status']['health'];
export type Replication = Schemas['Status']['replicating'];
export type Recoverability = Schemas['Status']['recoverability'];

export const factWords = messages({
  en: {
    health: 'Health', replication: 'Replication', recoverability: 'Recoverability',
    critical: 'Critical', unknown: 'Unknown', warning: 'Warning', healthy: 'Healthy',
    fenced: 'Owned elsewhere', failing: 'Failing', late: 'Behind its objective', paused: 'Paused', seeding: 'First copy',
    off: 'Off', current: 'Up to date',
    'not-recoverable': 'Nothing to recover', 'never-proven': 'Never proven', 'proven-stale': 'Proof too old', proven: 'Proven to boot',
    lose: (t: string) => `lose ${t}`, nothing: 'nothing can be recovered', asOf: 'unknown',
  },
  ja: {
    health: '状態', replication: 'レプリケーション', recoverability: '復旧可能性',
    critical: '重大', unknown: '不明', warning: '警告', healthy: '正常',
    fenced: '他サイトが所有', failing: '失敗中', late: '目標より遅延', paused: '一時停止', seeding: '初回コピー中',
    off: '停止', current: '最新',
    'not-recoverable': '復旧不可', 'never-proven': '未実証', 'proven-stale': '実証が古い', proven: '起動を実証済み',
    lose: (t) => `${t}分を喪失`, nothing: '復旧できるものがありません', asOf: '不明',
  },
  fr: {
    health: 'Santé', replication: 'Réplication', recoverability: 'Reprise',
    critical: 'Critique', unknown: 'Inconnu', warning: 'Attention', healthy: 'Sain',
    fenced: 'Détenu ailleurs', failing: 'En échec', late: 'En retard sur l’objectif', paused: 'En pause', seeding: 'Première copie',
    off: 'Arrêtée', current: 'À jour',
    'not-recoverable': 'Rien à reprendre', 'never-proven': 'Jamais prouvé', 'proven-stale': 'Preuve trop ancienne', proven: 'Démarrage prouvé',
    lose: (t) => `perdre ${t}`, nothing: 'rien ne peut être repris', asOf: 'inconnu',
  },
});

export const healthTone: Record<Health, Tone> = { critical: 'bad', unknown: 'idle', warning: 'warn', healthy: 'good' };
export const replicationTone: Record<Replication, Tone> = {
  fenced: 'bad', failing: 'bad', late: 'warn', unknown: 'idle', paused: 'idle', seeding: 'busy', off: 'idle', current: 'good',
};
export const recoverabilityTone: Record<Recoverability, Tone> = { 'not-recoverable': 'bad', 'never-proven': 'warn', 'proven-stale': 'warn', proven: 'good' };

export function HealthFact({ value, title }: { value: Health; title?: string }) {
  const w = useMessages(factWords);
  const v = useConnection().reachable ? value : 'unknown';
  return <Fact tone={healthTone[v]} title={title} mark={v === 'unknown' ? 'unknown' : undefined}>{w[v]}</Fact>;
}

export function ReplicationFact({ value }: { value: Replication }) {
  const w = useMessages(factWords);
  const v = useConnection().reachable ? value : 'unknown';
  return <Fact tone={replicationTone[v]} mark={v === 'unknown' ? 'unknown' : v === 'paused' ? 'paused' : undefined}>{w[v]}</Fact>;
}

export function RecoverabilityFact({ value }: { value: Recoverability }) {
  const w = useMessages(factWords);
  // That a point was proven to boot stays true while nobody can be asked; what else there is does not.
  const known = useConnection().reachable;
  return known ? <Fact tone={recoverabilityTone[value]}>{w[value]}</Fact> : <Fact tone="idle" mark="unknown">{w.unknown}</Fact>;
}

/** What would be lost now: grows with every second since it was asked for. */
export function Lose({ seconds, at }: { seconds?: number; /** when it was asked for, ms */ at: number }) {
  const w = useMessages(factWords);
  const f = useFormat();
  const now = useNow();
  const { reachable } = useConnection();
  if (!reachable) return <span className="idle">{w.unknown}</span>;
  if (seconds === undefined) return <span className="bad">{w.nothing}</span>;
  return <>{f.duration(Math.floor(seconds + Math.max(0, now - at) / 1000))}</>;
}
