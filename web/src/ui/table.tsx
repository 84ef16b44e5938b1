import { VisuallyHidden } from '@mantine/core';
import type { ReactNode } from 'react';
import { useMessages } from '../i18n/i18n';
import { Scroll, Section } from './page';
import { words } from './words';

export interface Column<T> {
  /** Left out over what can be done with a row. */
  title?: string;
  cell: (row: T) => ReactNode;
  /** A number, which stands at the end. */
  n?: boolean;
}

/** A table in a sheet of its own. */
export function Table<T>({ title, aside, label, rows, columns, by }: { title?: string; aside?: ReactNode; label: string; rows: T[]; columns: Column<T>[]; by: (row: T) => string }) {
  const w = useMessages(words);
  return (
    <Section flush title={title} aside={aside}>
      <Scroll label={label}>
        <table className="table">
          <thead>
            <tr>
              {columns.map((c) => (
                <th key={c.title ?? 'deeds'} className={c.n ? 'n' : undefined}>
                  {c.title ?? <VisuallyHidden>{w.deeds}</VisuallyHidden>}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {rows.map((row) => (
              <tr key={by(row)}>
                {columns.map((c) => (
                  <td key={c.title ?? 'deeds'} className={c.n ? 'n' : undefined}>
                    {c.cell(row)}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
    </Section>
  );
}
