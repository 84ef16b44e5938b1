import { TextInput } from '@mantine/core';
import { useDebouncedCallback } from '@mantine/hooks';
import { IconSearch } from '@tabler/icons-react';
import { useEffect, useState } from 'react';

interface Props {
  label: string;
  /** What is looked for now. */
  value: string;
  onSearch: (text: string) => void;
}

/** A box to search a list by name. It follows the typing, and asks when that rests. */
export function Search({ label, value, onSearch }: Props) {
  const [text, setText] = useState(value);
  const ask = useDebouncedCallback(onSearch, 250);
  useEffect(() => setText(value), [value]);
  return (
    <TextInput
      label={label}
      leftSection={<IconSearch size={16} />}
      value={text}
      onChange={(e) => {
        setText(e.currentTarget.value);
        ask(e.currentTarget.value);
      }}
      style={{ flex: '1 1 200px', maxWidth: 320 }}
      type="search"
    />
  );
}
