import { useConnection } from '../api/connection';
import { messages, useMessages } from '../i18n/i18n';
import { Fact } from './badge';

export type Power = 'on' | 'off' | 'paused' | 'unknown';

const words = messages({
  en: { on: 'On', off: 'Off', paused: 'Paused', unknown: 'Unknown' },
  ja: { on: 'オン', off: 'オフ', paused: '一時停止', unknown: '不明' },
  fr: { on: 'En marche', off: 'Arrêtée', paused: 'En pause', unknown: 'Inconnue' },
});

/** Whether a machine runs, as far as that is known. That it is off is no fault. */
export function PowerFact({ value, title }: { value: Power; title?: string }) {
  const w = useMessages(words);
  const v = useConnection().reachable ? value : 'unknown';
  return (
    <Fact tone={v === 'on' ? 'good' : 'idle'} mark={v === 'unknown' || v === 'paused' ? v : undefined} title={title}>
      {w[v]}
    </Fact>
  );
}
