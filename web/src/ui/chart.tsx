import { Center, Loader } from '@mantine/core';
import { lazy, Suspense } from 'react';

export interface Series {
  label: string;
  values: (number | null)[];
  /** A token of style.css, such as --busy. */
  color: string;
  fill?: boolean;
  dashed?: boolean;
}

export interface ChartProps {
  /** Says what is to be seen, to those who do not see it. */
  label: string;
  /** Seconds since 1970. */
  times: number[];
  series: Series[];
  /** From when to when the chart goes, in seconds since 1970. */
  span: [number, number];
  format: (n: number) => string;
  height?: number;
  /** Called when the reader drags over a span, in seconds since 1970. */
  onZoom?: (from: number, to: number) => void;
}

const Drawn = lazy(() => import('./uplot'));

/** A chart over time; its code is loaded when one is shown. */
export function Chart(props: ChartProps) {
  const height = props.height ?? 220;
  return (
    <Suspense
      fallback={
        <Center h={height + 30}>
          <Loader size="sm" />
        </Center>
      }
    >
      <Drawn {...props} height={height} />
    </Suspense>
  );
}
