package lanswitch

import "errors"

func tryLock(string) (unlock func(), err error) {
	return nil, errors.New("switches run where QEMU sites do: on Linux")
}
