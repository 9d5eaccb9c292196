// A list whose nodes hold the links: adding allocates nothing, and a node leaves its list by itself, in
// constant time, without knowing which list it is.
//
// clang-format off
//   struct Job : ListHook<Job> { ... };
//   IntrusiveList<Job> jobs;
//   jobs.push_back(job);
//   job.unlink();  // as its destructor would
// clang-format on
//
// A node that may be in several lists at a time has a hook for each, told apart by tags:
// clang-format off
//   struct Event : ListHook<struct InOrder>, ListHook<struct OfSession> { ... };
//   IntrusiveList<Event, InOrder> all;
// clang-format on
//
// Not for use by several threads at once.
#pragma once

#include <cstddef>
#include <iterator>

namespace vumedia {

/// A node's place in one list: a ring of hooks, of which one is the list's own. A hook that is in no list is
/// a ring by itself.
template <class Tag>
class ListHook {
 public:
  ListHook() = default;
  ListHook(const ListHook&) = delete;
  ListHook& operator=(const ListHook&) = delete;
  ~ListHook() { unlink(); }

  /// Whether it is in a list.
  [[nodiscard]] bool linked() const noexcept { return next_ != this; }
  /// Leaves the list, if it is in one.
  void unlink() noexcept {
    previous_->next_ = next_;
    next_->previous_ = previous_;
    next_ = previous_ = this;
  }

  /// For IntrusiveList. `place`, another hook, is in the ring that this hook joins. It is in none before, or
  /// moves from there.
  void move_before(ListHook& place) noexcept {
    previous_->next_ = next_;
    next_->previous_ = previous_;
    link_before(place);
  }
  /// Like move_before(), on the other side of `place`.
  void move_after(ListHook& place) noexcept {
    previous_->next_ = next_;
    next_->previous_ = previous_;
    link_before(*place.next_);
  }
  /// Joins the ring of `place`, before it. The hook is in none.
  void link_before(ListHook& place) noexcept {
    previous_ = place.previous_;
    next_ = &place;
    previous_->next_ = this;
    place.previous_ = this;
  }
  /// The next hook in the ring: a node's, or the list's own.
  [[nodiscard]] ListHook& next_hook() const noexcept { return *next_; }
  /// Likewise the one before it.
  [[nodiscard]] ListHook& previous_hook() const noexcept { return *previous_; }

 private:
  ListHook* next_ = this;
  ListHook* previous_ = this;
};

/// How a list finds the hook of a node, and the node of a hook: the hook is a public base of the node.
struct HookIsBase {
  /// The hook by which `node` is in lists of `Tag`.
  template <class Tag, class Node>
  [[nodiscard]] static ListHook<Tag>& hook(Node& node) noexcept {
    return node;
  }
  /// The node that `hook` belongs to. It is not the list's own.
  template <class Tag, class Node>
  [[nodiscard]] static Node& node(ListHook<Tag>& hook) noexcept {
    return static_cast<Node&>(hook);
  }
};

/// Does not own its nodes. `Access` is for nodes that hide their hook.
template <class Node, class Tag = Node, class Access = HookIsBase>
class IntrusiveList {
  using Hook = ListHook<Tag>;

 public:
  IntrusiveList() = default;
  IntrusiveList(const IntrusiveList&) = delete;
  IntrusiveList& operator=(const IntrusiveList&) = delete;
  ~IntrusiveList() { clear(); }

  /// Whether no node is in the list.
  [[nodiscard]] bool empty() const noexcept { return !ring_.linked(); }
  /// Counts the nodes, one after another.
  [[nodiscard]] std::size_t size() const noexcept {
    std::size_t count = 0;
    for (const Hook* hook = &ring_.next_hook(); hook != &ring_; hook = &hook->next_hook()) ++count;
    return count;
  }

  /// `node` is in no list of this tag.
  void push_back(Node& node) noexcept { hook_of(node).link_before(ring_); }
  /// Like push_back(), at the other end.
  void push_front(Node& node) noexcept { hook_of(node).link_before(ring_.next_hook()); }
  /// `node` is in a list of this tag, this or another, which it leaves.
  void move_back(Node& node) noexcept { hook_of(node).move_before(ring_); }
  /// Like move_back(), to the other end.
  void move_front(Node& node) noexcept { hook_of(node).move_after(ring_); }
  /// `node` is in a list of this tag.
  static void remove(Node& node) noexcept { hook_of(node).unlink(); }
  /// Whether `node` is in a list of this tag, this or another.
  [[nodiscard]] static bool linked(Node& node) noexcept { return hook_of(node).linked(); }

  /// The first node; null if there is none.
  [[nodiscard]] Node* front() const noexcept { return at(ring_.next_hook()); }
  /// The node after `node`, which is in this list; null if there is none.
  [[nodiscard]] Node* after(Node& node) const noexcept { return at(hook_of(node).next_hook()); }
  /// Removes the first node and returns it; null if there is none.
  [[nodiscard]] Node* pop_front() noexcept {
    Node* const node = front();
    if (node != nullptr) remove(*node);
    return node;
  }
  /// Removes all nodes.
  void clear() noexcept {
    while (pop_front() != nullptr) {
    }
  }

  /// In order. The node that an iterator is at may be removed only after the iterator has gone on.
  class Iterator {
   public:
    /// For std::iterator_traits.
    ///@{
    using value_type = Node;
    using difference_type = std::ptrdiff_t;
    ///@}
    Iterator() = default;
    /// At the node of `hook`; at the end if the hook is the list's own.
    explicit Iterator(Hook& hook) noexcept : hook_(&hook) {}
    /// The node that it is at; none at the end.
    ///@{
    Node& operator*() const noexcept { return Access::template node<Tag, Node>(*hook_); }
    Node* operator->() const noexcept { return &**this; }
    ///@}
    /// Goes on to the next node.
    Iterator& operator++() noexcept {
      hook_ = &hook_->next_hook();
      return *this;
    }
    /// The same; returns where it was.
    Iterator operator++(int) noexcept {
      const Iterator before = *this;
      ++*this;
      return before;
    }
    friend bool operator==(const Iterator&, const Iterator&) = default;

   private:
    Hook* hook_ = nullptr;
  };
  /// For a range-based `for`.
  ///@{
  [[nodiscard]] Iterator begin() const noexcept { return Iterator(ring_.next_hook()); }
  [[nodiscard]] Iterator end() const noexcept { return Iterator(ring()); }
  ///@}

 private:
  [[nodiscard]] static Hook& hook_of(Node& node) noexcept { return Access::template hook<Tag>(node); }
  [[nodiscard]] Hook& ring() const noexcept { return ring_.next_hook().previous_hook(); }
  [[nodiscard]] Node* at(Hook& hook) const noexcept {
    return &hook == &ring_ ? nullptr : &Access::template node<Tag, Node>(hook);
  }

  Hook ring_;
};

}  // namespace vumedia
