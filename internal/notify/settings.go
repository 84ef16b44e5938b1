package notify

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	"understudy/internal/dr"
)

// DefaultRepeat is how often a problem that lasts is told again.
const DefaultRepeat = 4 * time.Hour

// Settings are what all notifications share.
type Settings struct {
	// Console is the address at which people reach the console, for links; none when empty.
	Console string `json:"console,omitempty"`
	// Repeat is the time between two notifications of a problem that lasts; DefaultRepeat when 0, never when negative.
	Repeat time.Duration `json:"repeat,omitempty"`
}

// Check says what is wrong with settings.
func (s Settings) Check() error {
	if u, err := url.Parse(s.Console); s.Console != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "") {
		return dr.WithHint(fmt.Errorf("%q is no address of a console", s.Console), dr.KindInvalid, "understudy notify settings --console https://understudy.example.com")
	}
	if s.Repeat > 0 && s.Repeat < time.Minute {
		return dr.WithHint(errors.New("a problem is repeated at most once a minute"), dr.KindInvalid, "understudy notify settings --repeat 4h")
	}
	return nil
}
