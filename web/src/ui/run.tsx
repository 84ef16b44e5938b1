import { Text } from '@mantine/core';
import type { Verb } from '../api/session';
import { messages, useMessages } from '../i18n/i18n';
import { Fact, type Tone } from './badge';

/** Kinds and states of runs, in words. */
export const runWords = messages({
  en: {
    'test-failover': 'Test failover', 'planned-failover': 'Planned failover', failover: 'Failover', commit: 'Commit', cleanup: 'Clean-up',
    reprotect: 'Reprotection', drill: 'Drill', clone: 'Clone', move: 'Move', resolve: 'Split brain resolution', 'restore-extensions': 'Restore of extensions',
    pending: 'Pending', running: 'Running', waiting: 'Waits for a person', succeeded: 'Succeeded', failed: 'Failed', cancelled: 'Cancelled',
  },
  ja: {
    'test-failover': 'テストフェールオーバー', 'planned-failover': '計画フェールオーバー', failover: 'フェールオーバー', commit: '確定', cleanup: '後片付け',
    reprotect: '再保護', drill: '訓練', clone: '複製', move: '移動', resolve: 'スプリットブレインの解消', 'restore-extensions': '拡張機能の復元',
    pending: '開始待ち', running: '実行中', waiting: '対応待ち', succeeded: '成功', failed: '失敗', cancelled: '中止',
  },
  fr: {
    'test-failover': 'Basculement d’essai', 'planned-failover': 'Basculement planifié', failover: 'Basculement', commit: 'Validation', cleanup: 'Nettoyage',
    reprotect: 'Reprotection', drill: 'Exercice', clone: 'Clone', move: 'Déplacement', resolve: 'Résolution de double activité', 'restore-extensions': 'Restauration des extensions',
    pending: 'À venir', running: 'En cours', waiting: 'Attend une personne', succeeded: 'Réussi', failed: 'Échoué', cancelled: 'Annulé',
  },
});

/** Kinds of run that can be looked for. */
export const runKinds = ['test-failover', 'planned-failover', 'failover', 'commit', 'cleanup', 'reprotect', 'drill', 'clone', 'move', 'resolve', 'restore-extensions'] as const;

export type RunState = 'pending' | 'running' | 'waiting' | 'succeeded' | 'failed' | 'cancelled';
const tones: Record<RunState, Tone> = { pending: 'idle', running: 'busy', waiting: 'warn', succeeded: 'good', failed: 'bad', cancelled: 'idle' };

/** What one has to be allowed to stop a run of a kind, or to answer it, as internal/api decides it. */
export function runVerb(kind: string): Verb {
  if (kind === 'test-failover' || kind === 'drill' || kind === 'cleanup') return 'test-failover';
  if (kind === 'clone' || kind === 'move') return 'copy';
  return kind === 'restore-extensions' ? 'extend' : 'failover';
}

/** What a run or a step says, without the commands by which a terminal answers it: here there are buttons. */
export function said(message = ''): string {
  return message.split('; to answer: ')[0] ?? '';
}

/** Whether a run or a step has ended. */
export function over(state: string): boolean {
  return state === 'succeeded' || state === 'failed' || state === 'cancelled';
}

/** The kind of a run, in words; the kind itself when there are none for it. */
export function useRunKind(): (kind: string) => string {
  const w = useMessages(runWords) as Record<string, string>;
  return (kind) => w[kind] ?? kind;
}

export function RunFact({ state }: { state: RunState }) {
  const w = useMessages(runWords);
  return <Fact tone={tones[state]}>{w[state]}</Fact>;
}

export function RunTitle({ run }: { run: { kind: string; group: string; about?: string } }) {
  const kind = useRunKind();
  return (
    <Text size="sm" fw={550} truncate>
      {kind(run.kind)} · {run.group || run.about}
    </Text>
  );
}
