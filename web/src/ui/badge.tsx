import {
  IconAlertTriangleFilled, IconCircleCheckFilled, IconCircleDashed, IconCircleXFilled, IconHelpCircle, IconLoader2, IconPlayerPauseFilled,
} from '@tabler/icons-react';
import type { ReactNode } from 'react';

export type Tone = 'good' | 'warn' | 'bad' | 'busy' | 'idle';

const icons = { good: IconCircleCheckFilled, warn: IconAlertTriangleFilled, bad: IconCircleXFilled, busy: IconLoader2, idle: IconCircleDashed };
const marks = { unknown: IconHelpCircle, paused: IconPlayerPauseFilled };

/** One fact: an icon and words, with a colour that says the same. */
export function Fact({ tone, mark, title, children }: { tone: Tone; mark?: keyof typeof marks; title?: string; children: ReactNode }) {
  const Icon = mark ? marks[mark] : icons[tone];
  return (
    <span className={`fact ${tone}`} title={title}>
      <Icon aria-hidden />
      <span>{children}</span>
    </span>
  );
}
