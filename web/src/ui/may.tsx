import { Button, type ButtonProps, Tooltip } from '@mantine/core';
import { createContext, useContext, type MouseEventHandler, type ReactNode } from 'react';
import { useGet } from '../api/query';
import { useMay, type Subject, type Verb } from '../api/session';
import { useMessages } from '../i18n/i18n';
import { words } from './words';

interface Props extends ButtonProps {
  /** The right that it takes. */
  verb: Verb;
  /** What it is about; by default what the part of the page is about that it is in. */
  on?: Subject;
  /** Why it is not possible now, whoever asks. */
  reason?: string;
  type?: 'button' | 'submit';
  onClick?: MouseEventHandler<HTMLButtonElement>;
  children: ReactNode;
}

const About = createContext<Subject | undefined>(undefined);

/** Says what the deeds inside are about: a group, whose sites are looked up. */
export function AboutGroup({ name, children }: { name: string; children: ReactNode }) {
  const status = useGet('/v1/groups/{name}/status', { path: { name } }, { enabled: !!name });
  const s = status.data;
  const sites = s && [s.site, s.target].filter((one, i, all): one is string => !!one && all.indexOf(one) === i);
  return <About value={name ? { group: name, sites } : undefined}>{children}</About>;
}

/** Says what the deeds inside are about: sites. */
export function AboutSites({ names, children }: { names: string[]; children: ReactNode }) {
  return <About value={{ sites: names }}>{children}</About>;
}

/** A button that says why it cannot be pressed: for want of a right, or for a reason. */
export function Deed({ verb, on, reason, type = 'button', onClick, children, ...rest }: Props) {
  const w = useMessages(words);
  const may = useMay();
  const around = useContext(About);
  const subject = on ?? around;
  const why = !may(verb, subject) ? w.notAllowed(verb, subject?.group ?? subject?.sites?.join(', ') ?? '') : reason;
  return (
    <Tooltip label={why} disabled={!why} multiline maw={320}>
      <Button {...rest} type={type} onClick={why ? (e) => e.preventDefault() : onClick} data-disabled={why ? true : undefined} aria-disabled={!!why} aria-description={why}>
        {children}
      </Button>
    </Tooltip>
  );
}
