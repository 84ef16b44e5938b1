// The steps of a run on one axis of time: what was done side by side, and what took long.
import { Text } from '@mantine/core';
import { useMessages } from '../../i18n/i18n';
import { useFormat } from '../../ui/format';
import { Scroll } from '../../ui/page';
import { type RunState, runWords } from '../../ui/run';
import { useNow } from '../../ui/time';
import { run as words } from './messages';
import type { Step } from './steps';

const tone: Record<RunState, string> = { pending: 'idle', running: 'busy', waiting: 'warn', succeeded: 'good', failed: 'bad', cancelled: 'idle' };

export function Timeline({ steps }: { steps: Step[] }) {
  const w = useMessages(words);
  const states = useMessages(runWords);
  const f = useFormat();
  const now = useNow();
  const begun = steps.filter((s) => s.started);
  const from = Math.min(...begun.map((s) => Date.parse(s.started ?? '')));
  const to = Math.max(from + 1, ...begun.map((s) => (s.ended ? Date.parse(s.ended) : now)));
  const at = (t: number) => `${(100 * (t - from)) / (to - from)}%`;
  const ticks = [0, 0.25, 0.5, 0.75, 1];
  return (
    <Scroll label={w.asTimeline}>
      <div className="gantt">
        <div className="gantt-row" aria-hidden>
          <span />
          <span className="gantt-axis">
            {ticks.map((t) => (
              <span key={t} style={{ left: `${t * 100}%`, transform: `translateX(${-t * 100}%)` }}>
                {f.duration((t * (to - from)) / 1000)}
              </span>
            ))}
          </span>
        </div>
        {begun.map((s) => {
          const start = Date.parse(s.started ?? '');
          const end = s.ended ? Date.parse(s.ended) : now;
          const state = s.state as RunState;
          const label = `${s.title || s.name}: ${states[state]}, ${f.duration((end - start) / 1000)}`;
          return (
            <div className="gantt-row" key={s.name}>
              <Text size="sm" truncate title={s.title}>
                {s.title || s.name}
              </Text>
              <span className="gantt-lane">
                <span className={`gantt-bar ${tone[state]}`} style={{ left: at(start), width: `max(4px, ${(100 * (end - start)) / (to - from)}%)` }} role="img" aria-label={label} title={label}>
                  {(s.attempts ?? 0) > 1 && <span className="gantt-attempts">×{s.attempts}</span>}
                </span>
              </span>
            </div>
          );
        })}
      </div>
    </Scroll>
  );
}
