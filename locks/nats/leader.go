package nats

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The requests that a stream's leader answers (the library sends a look at a key to any
// copy of it), as in the server's server/jetstream_api.go.
const (
	apiMessage = "$JS.API.STREAM.MSG.GET.KV_%s"
	apiInfo    = "$JS.API.STREAM.INFO.KV_%s"
)

// ask sends one request to the leader.
func (c *client) ask(ctx context.Context, subject string, request, answer any) error {
	b, err := json.Marshal(request)
	if err != nil {
		return err
	}
	m, err := c.nc.RequestWithContext(ctx, fmt.Sprintf(subject, c.bucket), b)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(m.Data, answer); err != nil {
		return fmt.Errorf("decode answer: %w", err)
	}
	return nil
}

// latest is the key's latest entry; nil if it has none.
func (c *client) latest(ctx context.Context, key string) (*entry, error) {
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message *struct {
			Header   []byte    `json:"hdrs"`
			Data     []byte    `json:"data"`
			Sequence uint64    `json:"seq"`
			Time     time.Time `json:"time"`
		} `json:"message"`
	}
	request := map[string]string{"last_by_subj": "$KV." + c.bucket + "." + key}
	if err := c.ask(ctx, apiMessage, request, &answer); err != nil {
		return nil, err
	}
	m := answer.Message
	switch {
	case answer.Error != nil && answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return nil, nil
	case answer.Error != nil:
		return nil, answer.Error
	case m == nil:
		return nil, fmt.Errorf("decode answer: neither a message nor an error")
	}
	if len(m.Header) > 0 {
		header, err := nats.DecodeHeadersMsg(m.Header)
		if err != nil {
			return nil, fmt.Errorf("decode answer: %w", err)
		}
		if header.Get("KV-Operation") != "" || header.Get(jetstream.MarkerReasonHeader) != "" {
			return nil, nil // deleted, or aged out
		}
	}
	return entryOf(m.Data, m.Sequence, m.Time), nil
}

// info describes the bucket's stream; its timestamp is the leader's clock.
func (c *client) info(ctx context.Context) (*jetstream.StreamInfo, error) {
	var answer struct {
		Error *jetstream.APIError `json:"error"`
		jetstream.StreamInfo
	}
	if err := c.ask(ctx, apiInfo, struct{}{}, &answer); err != nil {
		return nil, err
	}
	if answer.Error != nil {
		return nil, answer.Error
	}
	return &answer.StreamInfo, nil
}
