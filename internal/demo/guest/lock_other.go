//go:build !unix

package guest

import "errors"

func lock(string) (func(), error) { return nil, errors.New("not possible on this system") }
