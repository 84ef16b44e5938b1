import { Button, type ButtonProps, Tooltip } from '@mantine/core';
import type { MouseEventHandler, ReactNode } from 'react';
import { useMay, type Verb } from '../api/session';
import { useMessages } from '../i18n/i18n';
import { words } from './words';

interface Props extends ButtonProps {
  /** The right that it takes. */
  verb: Verb;
  /** Why it is not possible now, whoever asks. */
  reason?: string;
  type?: 'button' | 'submit';
  onClick?: MouseEventHandler<HTMLButtonElement>;
  children: ReactNode;
}

/** A button that says why it cannot be pressed: for want of a right, or for a reason. */
export function Deed({ verb, reason, type = 'button', onClick, children, ...rest }: Props) {
  const w = useMessages(words);
  const may = useMay();
  const why = !may(verb) ? w.notAllowed(verb) : reason;
  return (
    <Tooltip label={why} disabled={!why} multiline maw={320}>
      <Button {...rest} type={type} onClick={why ? (e) => e.preventDefault() : onClick} data-disabled={why ? true : undefined} aria-disabled={!!why} aria-description={why}>
        {children}
      </Button>
    </Tooltip>
  );
}
