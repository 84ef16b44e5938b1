package api

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"golang.org/x/time/rate"

	"understudy/internal/api/wire"
)

// How often one may try to log in: so many tries at once, and then one per interval. A user is tried from one address,
// from all addresses together, and an address tries all users together.
var loginRates = struct{ pair, user, address loginRate }{
	pair: loginRate{5, 20 * time.Second}, user: loginRate{20, 5 * time.Second}, address: loginRate{30, 2 * time.Second},
}

type loginRate struct {
	burst int
	every time.Duration
}

// maxLimiters bounds the memory that those who try take.
const maxLimiters = 10000

// logins bounds how often passwords are tried.
type logins struct {
	now func() time.Time

	mu       sync.Mutex
	limiters map[string]*rate.Limiter
}

func newLogins(now func() time.Time) *logins {
	return &logins{now: now, limiters: map[string]*rate.Limiter{}}
}

// take counts a try, or refuses it and says when the next is allowed. Without a user, since a provider finds out who it is,
// only the address counts.
func (l *logins) take(user, address string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if len(l.limiters) > maxLimiters {
		for key, one := range l.limiters { // those that are full again say nothing any more
			if one.TokensAt(now) >= float64(one.Burst()) {
				delete(l.limiters, key)
			}
		}
	}
	var wait time.Duration
	var taken []*rate.Reservation
	rates := map[string]loginRate{"address " + address: loginRates.address}
	if user != "" {
		rates["pair "+address+" "+user], rates["user "+user] = loginRates.pair, loginRates.user
	}
	for key, r := range rates {
		one := l.limiters[key]
		if one == nil {
			one = rate.NewLimiter(rate.Every(r.every), r.burst)
			l.limiters[key] = one
		}
		v := one.ReserveN(now, 1)
		taken = append(taken, v)
		wait = max(wait, v.DelayFrom(now))
	}
	if wait == 0 {
		return nil
	}
	for _, v := range taken { // a refused try does not move the next one away
		v.CancelAt(now)
	}
	seconds := int((wait + time.Second - 1) / time.Second)
	return huma.ErrorWithHeaders(&wire.Problem{
		Title: http.StatusText(http.StatusTooManyRequests), Status: http.StatusTooManyRequests, Kind: "unavailable",
		Detail: "too many tries to log in", Hint: fmt.Sprintf("try again in %d s", seconds),
	}, http.Header{"Retry-After": {strconv.Itoa(seconds)}})
}

// succeeded forgets the tries of a user from an address.
func (l *logins) succeeded(user, address string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.limiters, "pair "+address+" "+user)
}
