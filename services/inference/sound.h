// What is known of a recording without listening to it.
#pragma once

#include <string_view>

#include "aima/inference/v1/inference.pb.h"
#include "libs/http/message.h"

namespace aima::inference {

// "wav", "mp3" …, as OpenAI's interface names formats; wav where none is chosen.
std::string SoundFormat(v1::AudioFormat format);

// The format that a content type names, or else `asked`.
v1::AudioFormat SoundFormatOf(std::string_view content_type, v1::AudioFormat asked);

// How long a recording is and how many samples a second has; 0 where that is not known.
struct SoundLength {
  double seconds = 0;
  int sample_rate = 0;
};

// From the head of the answer that brought it, the beginning of the recording and its size in bytes. Engines of ours
// tell both in the head, as X-Audio-Duration and X-Sample-Rate.
SoundLength LengthOfSound(v1::AudioFormat format, const http::Headers& headers, std::string_view beginning,
                          size_t size);

}  // namespace aima::inference
