import { useMessages } from '../../i18n/i18n';
import { Page } from '../../ui/page';
import { overview } from './messages';

export default function Overview() {
  const w = useMessages(overview);
  return <Page title={w.title}>{null}</Page>;
}
