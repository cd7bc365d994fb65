#include "dsp/tracing/audience.h"

#include <algorithm>
#include <string>

namespace earmark {

Audience::Audience(int num_variants, int max_listeners)
    : num_variants_(num_variants), max_listeners_(max_listeners), members_(std::make_shared<Members>()), published_(members_) {
  for (int cell = max_listeners; cell-- > 0;) free_cells_.push_back(static_cast<std::uint32_t>(cell));
}

Result<ListenerId> Audience::Add(const CodeKey& code_key, std::string_view account) {
  const Key grant_key = DeriveGrantKey(code_key, account);
  const std::lock_guard lock(mutex_);
  if (free_cells_.empty()) {
    return Fail(ErrorCode::kResourceExhausted, "listeners: at most " + std::to_string(max_listeners_) + " fit in a room");
  }
  auto members = std::make_shared<Members>(*members_);
  members->ids.push_back(++last_id_);
  members->cells.push_back(free_cells_.back());
  members->grant_keys.push_back(grant_key);
  free_cells_.pop_back();
  members_ = members;
  published_.Publish(std::move(members));
  return last_id_;
}

Result<void> Audience::Remove(ListenerId listener) {
  const std::lock_guard lock(mutex_);
  const auto found = std::lower_bound(members_->ids.begin(), members_->ids.end(), listener);
  if (found == members_->ids.end() || *found != listener)
    return Fail(ErrorCode::kNotFound, "listener " + std::to_string(listener) + " is not in the room");
  const auto at = found - members_->ids.begin();
  auto members = std::make_shared<Members>(*members_);
  free_cells_.push_back(members->cells[static_cast<std::size_t>(at)]);
  members->ids.erase(members->ids.begin() + at);
  members->cells.erase(members->cells.begin() + at);
  members->grant_keys.erase(members->grant_keys.begin() + at);
  members_ = members;
  published_.Publish(std::move(members));
  return {};
}

int Audience::num_listeners() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int>(members_->ids.size());
}

AudienceReader::AudienceReader(const Audience& audience)
    : num_variants_(audience.num_variants()),
      reader_(audience.published_),
      cells_(static_cast<std::size_t>(audience.max_listeners())),
      variants_(static_cast<std::size_t>(audience.max_listeners())) {}

AudienceReader::View AudienceReader::VariantsAt(std::int64_t symbol) noexcept {
  const Audience::Members& members = reader_.Look();
  const std::size_t num_listeners = members.ids.size();
  if (symbol != symbol_ || reader_.version() != version_) {
    symbol_ = symbol;
    version_ = reader_.version();
    const int per_block = SymbolsPerBlock(num_variants_);
    const std::int64_t block = symbol / per_block;
    const auto half = static_cast<std::size_t>(block & 1);
    const int bit = static_cast<int>(symbol % per_block) * BitsPerSymbol(num_variants_);
    const auto byte = static_cast<std::size_t>(bit / 8);
    for (std::size_t i = 0; i < num_listeners; ++i) {
      Cell& cell = CellOf(members, i);
      if (cell.blocks[half] != block) {
        Derive(cell, members.grant_keys[i], block);
        ++num_derived_late_;
      }
      variants_[i] = static_cast<std::uint8_t>((cell.bytes[half][byte] >> (bit % 8)) & (num_variants_ - 1));
    }
    DeriveAhead(members, symbol);
  }
  return {.listeners = members.ids, .variants = std::span<const std::uint8_t>(variants_).first(num_listeners)};
}

// The listener's cell, emptied if it was somebody else's.
AudienceReader::Cell& AudienceReader::CellOf(const Audience::Members& members, std::size_t i) noexcept {
  Cell& cell = cells_[members.cells[i]];
  if (cell.listener != members.ids[i]) {
    cell.listener = members.ids[i];
    cell.blocks = {-1, -1};
  }
  return cell;
}

void AudienceReader::Derive(Cell& cell, const Key& grant_key, std::int64_t block) noexcept {
  const auto half = static_cast<std::size_t>(block & 1);
  Keystream(grant_key, block, cell.bytes[half]);
  cell.blocks[half] = block;
}

// The share of this symbol. In the second half of a block the round is made once more, for those who came since; for the others there is nothing to do.
void AudienceReader::DeriveAhead(const Audience::Members& members, std::int64_t symbol) noexcept {
  const int per_block = SymbolsPerBlock(num_variants_);
  const auto half_block = static_cast<std::size_t>(per_block / 2);
  const std::int64_t next = symbol / per_block + 1;
  const std::size_t phase = static_cast<std::size_t>(symbol % per_block) % half_block;
  const std::size_t end = (phase + 1) * members.ids.size() / half_block;
  for (std::size_t i = phase * members.ids.size() / half_block; i < end; ++i) {
    Cell& cell = CellOf(members, i);
    if (cell.blocks[static_cast<std::size_t>(next & 1)] != next) Derive(cell, members.grant_keys[i], next);
  }
}

}  // namespace earmark
