package pep

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/google/uuid"
	"github.com/smnsjas/go-psrpcore/fragments"
	"github.com/smnsjas/go-psrpcore/messages"
	"github.com/smnsjas/go-psrpcore/objects"
	"github.com/smnsjas/go-psrpcore/runspace"
	"github.com/smnsjas/go-psrpcore/serialization"
)

// Limits of what a host may say to one question.
const (
	outputLimit   = 64 << 20 // bytes
	fragmentLimit = answerLimit
	pendingLimit  = 64 // messages that have begun and not ended
	partsLimit    = outputLimit >> 12

	sentLimit     = 32 << 10
	helloMessages = 2 // that open a pool
)

// States of [MS-PSRP] 2.2.3.4 and 2.2.3.5.
const (
	poolOpened    = 2
	poolClosed    = 3
	poolBroken    = 5
	pipeStopped   = 3
	pipeCompleted = 4
	pipeFailed    = 5
)

// open makes the shell a pool of one runspace, and waits until it is ready.
func (s *shell) open(ctx context.Context) error {
	hello, err := runspace.New(nil, s.id).GetHandshakeFragments()
	if err != nil {
		return err
	}
	s.out = fragments.NewFragmenterWithID(sentLimit, helloMessages)
	if err := s.create(ctx, hello); err != nil {
		return err
	}
	var in stream
	for {
		data, _, err := s.receive(ctx, "")
		if err != nil {
			return err
		}
		said, err := in.add(data)
		if err != nil {
			return err
		}
		for _, m := range said {
			if m.Type != messages.MessageTypeRunspacePoolState {
				continue
			}
			switch state, problem, err := stateOf(m.Data, "RunspaceState"); {
			case err != nil:
				return err
			case state == poolOpened:
				return nil
			case state == poolClosed || state == poolBroken:
				return fmt.Errorf("the session broke: %s", cmp.Or(problem, "the host does not say why"))
			}
		}
	}
}

// run runs one command with switches, and returns the objects that it puts out. It is sent as a command and not as a
// script: the endpoint runs no scripts, nor anything that is not on its list.
func (s *shell) run(ctx context.Context, command string, switches ...string) ([]any, error) {
	p := objects.NewPowerShell()
	p.NoInput = true // or the host waits for its end
	p.AddCommand(command, false)
	for _, one := range switches {
		p.AddParameter(one, true)
	}
	out, err := s.invoke(ctx, p)
	if err != nil {
		err = fmt.Errorf("run %s: %w", strings.Join(append([]string{command}, switches...), " -"), err)
	}
	return out, err
}

// invoke runs a pipeline.
func (s *shell) invoke(ctx context.Context, p *objects.PowerShell) (out []any, err error) {
	id := uuid.New()
	begin, err := s.begin(id, p)
	if err != nil {
		return nil, err
	}
	at, err := s.command(ctx, id, begin)
	if err != nil {
		return nil, err
	}
	var in stream
	var complaints []string
	for {
		data, done, err := s.receive(ctx, at)
		if err != nil {
			return nil, err
		}
		said, err := in.add(data)
		if err != nil {
			return nil, err
		}
		for _, m := range said {
			switch m.Type {
			case messages.MessageTypePipelineOutput:
				object, err := decode(m.Data)
				if err != nil {
					return nil, err
				}
				out = append(out, object)
			case messages.MessageTypeErrorRecord:
				object, err := decode(m.Data)
				if err != nil {
					return nil, err
				}
				complaints = append(complaints, textOf(object))
			case messages.MessageTypePipelineHostCall:
				return nil, errors.New("it asks a person")
			case messages.MessageTypePipelineState:
				state, problem, err := stateOf(m.Data, "PipelineState")
				if err != nil {
					return nil, err
				}
				switch {
				case state == pipeCompleted && len(complaints) > 0 && len(out) == 0:
					return nil, errors.New(strings.Join(complaints, "; "))
				case state == pipeCompleted:
					return out, s.signal(ctx, at)
				case state == pipeFailed || state == pipeStopped:
					complaints = append(complaints, problem)
					return nil, errors.New(cmp.Or(strings.Trim(strings.Join(complaints, "; "), "; "), "it was stopped"))
				}
			}
		}
		if done {
			return nil, errors.New("it ended without saying how")
		}
	}
}

// begin is the message that begins a pipeline.
func (s *shell) begin(id uuid.UUID, p *objects.PowerShell) ([]byte, error) {
	writer := serialization.NewSerializer()
	defer writer.Close()
	text, err := writer.SerializeRaw(p)
	if err != nil {
		return nil, err
	}
	whole, err := messages.NewCreatePipeline(s.id, id, text).Encode()
	if err != nil {
		return nil, err
	}
	parts, err := s.out.Fragment(whole)
	if err != nil || len(parts) != 1 {
		return nil, errors.Join(err, fmt.Errorf("it takes %d fragments, and one can be sent", len(parts)))
	}
	return parts[0].Encode()
}

// A stream puts messages together from what arrives, in which they are cut anywhere.
type stream struct {
	rest  []byte
	parts *fragments.Assembler
	total int
}

func (s *stream) add(data []byte) (said []*messages.Message, err error) {
	if s.parts == nil {
		s.parts = fragments.NewAssemblerWithLimits(pendingLimit, partsLimit)
	}
	if s.total += len(data); s.total > outputLimit {
		return nil, fmt.Errorf("the host says more than %d bytes", outputLimit)
	}
	s.rest = append(s.rest, data...)
	for len(s.rest) >= fragments.HeaderSize {
		length := binary.BigEndian.Uint32(s.rest[fragments.HeaderSize-4:])
		if length > fragmentLimit {
			return nil, fmt.Errorf("a fragment of %d bytes is too long", length)
		}
		end := fragments.HeaderSize + int(length)
		if len(s.rest) < end {
			break
		}
		f, err := fragments.Decode(s.rest[:end])
		if err != nil {
			return nil, err
		}
		s.rest = s.rest[end:]
		complete, whole, err := s.parts.Add(f)
		if err != nil {
			return nil, err
		}
		if !complete {
			continue
		}
		m, err := messages.Decode(whole)
		if err != nil {
			return nil, err
		}
		said = append(said, m)
	}
	return said, nil
}

// decode reads one object. The reader is not ours: what it cannot take is an error here.
func decode(data []byte) (object any, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("read an object of the host: %v", r)
		}
	}()
	d := serialization.NewDeserializer()
	defer d.Close()
	list, err := d.Deserialize(data)
	if err != nil {
		return nil, fmt.Errorf("read an object of the host: %w", err)
	}
	if len(list) == 0 {
		return nil, errors.New("read an object of the host: there is none")
	}
	return list[0], nil
}

// stateOf reads a message about the state of a pool or a pipeline, with what went wrong.
func stateOf(data []byte, key string) (state int32, problem string, err error) {
	object, err := decode(data)
	if err != nil {
		return 0, "", err
	}
	state, ok := property(object, key).(int32)
	if !ok {
		return 0, "", fmt.Errorf("the host tells of a state without %s", key)
	}
	return state, textOf(property(object, "ExceptionAsErrorRecord")), nil
}

// property returns a property of an object, nil when it has none of that name.
func property(object any, name string) any {
	o, ok := object.(*serialization.PSObject)
	if !ok {
		return nil
	}
	if v, ok := o.Properties[name]; ok {
		return v
	}
	return o.Members[name]
}

// textOf is what an object would be printed as.
func textOf(object any) string {
	switch o := object.(type) {
	case nil:
		return ""
	case string:
		return unescape(o)
	case *serialization.PSObject:
		if o.ToString != "" {
			return unescape(o.ToString)
		}
		if v, ok := o.Value.(string); ok {
			return unescape(v)
		}
		return textOf(property(o, "Message"))
	}
	return fmt.Sprint(object)
}

var escapes = regexp.MustCompile(`(?:_x[0-9A-Fa-f]{4}_)+`)

// unescape undoes the way in which PowerShell writes what XML has no place for, such as ends of lines: [MS-PSRP] 2.2.5.3.2.
func unescape(text string) string {
	return escapes.ReplaceAllStringFunc(text, func(run string) string {
		var units []uint16
		for ; run != ""; run = run[len("_x0000_"):] {
			n, _ := strconv.ParseUint(run[2:6], 16, 16) // four digits, by the expression
			units = append(units, uint16(n))
		}
		return string(utf16.Decode(units))
	})
}
